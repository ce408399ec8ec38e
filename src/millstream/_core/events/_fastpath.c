/* The fast path's check of an event's values: whether all types are encoded as documented, whatever the value.
 *
 * In Python this is the slowest part of a call (docs/decisions/0023). It is optional, and only ever spares work: if it
 * was not compiled, or returns False ("unknown"), is_plain (fastpath.py) decides.
 *
 * It must never run Python code: another thread could run in there, and change what is being read. So only exact
 * types are inspected, by functions that call no Python code.
 *
 * The stable ABI of Python 3.10: one binary serves that version and all later ones.
 */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MAX_DEPTH 100 /* levels of nesting, as in spec.py */

static PyObject *leaves[8]; /* types encoded as documented for every value; NULL after the last */
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
    /* A C attribute of an exact datetime: runs no code of the caller's. */
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
    return !overflow; /* a larger one may exceed a double: is_plain decides */
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
