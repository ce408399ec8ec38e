/* One look at the values of an event: are they all of the types that are written as documented, whatever the value?
 *
 * This is the part of a call that Python can only do value by value, in its own steps: 2.6 of 8 µs for an event of 25
 * values, and 0.2 here. It is optional. Where it was not compiled, is_plain (plain.py) alone does the looking; where it
 * was, it only ever spares that: a False means "I do not know", and is_plain decides.
 *
 * It must never run Python code: another thread would get its turn in there, and could change what is being read. So
 * only exact types are looked into, and by functions that call nothing.
 *
 * The stable ABI of Python 3.10: one binary serves that version and all later ones.
 */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MAX_DEPTH 100 /* levels of nesting: plain.py has the same */

static PyObject *leaves[8]; /* types of which every value is fine, NULL after the last */
static PyObject *datetime_type, *utc, *tzinfo_name;

static int usual(PyObject *value, int depth);

static int usual_dict(PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        if (!PyUnicode_CheckExact(key) || !usual(value, depth))
            return 0;
    }
    return 1;
}

static int usual_datetime(PyObject *value)
{
    /* A C attribute of an exact datetime: no code of the caller's runs. */
    PyObject *zone = PyObject_GetAttr(value, tzinfo_name);
    if (zone == NULL) {
        PyErr_Clear();
        return 0;
    }
    int fine = zone == utc || zone == Py_None;
    Py_DECREF(zone);
    return fine;
}

static int usual_int(PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return !overflow; /* a larger one may be too large for a double: let is_plain see */
}

static int usual(PyObject *value, int depth)
{
    PyObject *type = (PyObject *)Py_TYPE(value);
    if (type == (PyObject *)&PyUnicode_Type)
        return 1;
    for (PyObject **leaf = leaves; *leaf != NULL; leaf++) {
        if (type == *leaf)
            return 1;
    }
    if (type == (PyObject *)&PyLong_Type)
        return usual_int(value);
    if (type == datetime_type)
        return usual_datetime(value);
    if (++depth > MAX_DEPTH)
        return 0;
    if (type == (PyObject *)&PyDict_Type)
        return usual_dict(value, depth);
    if (type == (PyObject *)&PyList_Type) {
        for (Py_ssize_t i = 0; i < PyList_Size(value); i++) {
            if (!usual(PyList_GetItem(value, i), depth))
                return 0;
        }
        return 1;
    }
    if (type == (PyObject *)&PyTuple_Type) {
        for (Py_ssize_t i = 0; i < PyTuple_Size(value); i++) {
            if (!usual(PyTuple_GetItem(value, i), depth))
                return 0;
        }
        return 1;
    }
    return 0;
}

static PyObject *all_usual(PyObject *module, PyObject *values)
{
    (void)module;
    return PyBool_FromLong(PyList_CheckExact(values) && usual(values, 0));
}

static PyMethodDef methods[] = {
    {"all_usual", all_usual, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_fastpath", NULL, -1, methods, NULL, NULL, NULL, NULL};

static PyObject *attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return NULL;
    PyObject *found = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return found;
}

PyMODINIT_FUNC PyInit__fastpath(void)
{
    PyObject **leaf = leaves;
    *leaf++ = Py_NewRef((PyObject *)Py_TYPE(Py_None));
    *leaf++ = Py_NewRef((PyObject *)&PyBool_Type);
    *leaf++ = Py_NewRef((PyObject *)&PyFloat_Type);
    *leaf++ = Py_NewRef((PyObject *)&PyBytes_Type);
    if ((*leaf++ = attribute("datetime", "date")) == NULL || (*leaf++ = attribute("datetime", "timedelta")) == NULL
        || (*leaf++ = attribute("uuid", "UUID")) == NULL)
        return NULL;
    datetime_type = attribute("datetime", "datetime");
    PyObject *timezone = attribute("datetime", "timezone");
    if (datetime_type == NULL || timezone == NULL)
        return NULL;
    utc = PyObject_GetAttrString(timezone, "utc");
    Py_DECREF(timezone);
    tzinfo_name = PyUnicode_InternFromString("tzinfo");
    if (utc == NULL || tzinfo_name == NULL)
        return NULL;
    return PyModule_Create(&definition);
}
