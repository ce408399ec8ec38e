/* Judges the usual events of a request, in one pass over its text.
 *
 * For events as clients send them, this finds a few members and assembles the stored line from pieces of the text, in
 * a fraction of Python's time. It is optional, and only ever spares work: for an event that is unusual in any respect it
 * returns None ("unknown"), and `examine` (events.py) decides.
 *
 * The text is known to be JSON, which allows to skip an unusual event by counting brackets. Memory safety does not
 * depend on it: whatever the bytes, nothing is read or written outside of them.
 *
 * The stable ABI of Python 3.10: one binary serves that version and all later ones.
 */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#define MAX_EVENT 32768    /* bytes, as in spec.py, like the next two */
#define MAX_DEPTH 100      /* levels of nested objects and lists; the event is the first */
#define MAX_MESSAGE_ID 100 /* in bytes here: Python checks longer ones */
#define MAX_NAMES 256      /* members of the objects open at a time */
#define MAX_DIGITS 100     /* of a number: with a two-digit exponent far below the largest double */

typedef struct {
    const char *at, *end; /* the text of a JSON value; NULL if missing */
} Text;

typedef struct {
    const char *text;
    size_t length;
} Word;

#define WORD(text) {text, sizeof text - 1}

/* -- JSON ----------------------------------------------------------------------------------------------------------
 * Each returns the position after the part it parses, or NULL if that is missing. */

static const char *after_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *after(char wanted, const char *at, const char *end)
{
    at = after_space(at, end);
    return at < end && *at == wanted ? at + 1 : NULL;
}

static const char *after_string(const char *at, const char *end)
{
    const char *begin = at + 1;
    for (at = begin; at < end; at++) {
        if ((at = memchr(at, '"', end - at)) == NULL)
            return NULL;
        const char *before = at;
        while (before > begin && before[-1] == '\\')
            before--;
        if ((at - before) % 2 == 0) /* else the last backslash escapes the quote */
            return at + 1;
    }
    return NULL;
}

static const char *after_value(const char *at, const char *end)
{
    for (int depth = 0; at != NULL && at < end;) {
        switch (*at) {
        case '"':
            at = after_string(at, end);
            if (depth == 0)
                return at;
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return at; /* a number, true, false or null ends before it */
            if (--depth == 0)
                return at + 1;
            break;
        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            if (depth == 0)
                return at;
        }
        at++;
    }
    return NULL;
}

/* Parse a member's name, up to its value. NULL also for a name with escapes: it could be any. */
static const char *after_name(const char *at, const char *end, Text *name)
{
    if ((at = after('"', at, end)) == NULL)
        return NULL;
    for (name->at = at; at < end && *at != '"'; at++) {
        if (*at == '\\')
            return NULL;
    }
    name->end = at;
    if (at == end || (at = after(':', at + 1, end)) == NULL)
        return NULL;
    return after_space(at, end);
}

static int is(const Word *word, Text text)
{
    return word->length == (size_t)(text.end - text.at) && *word->text == *text.at
           && memcmp(word->text, text.at, word->length) == 0;
}

/* -- plain JSON ----------------------------------------------------------------------------------------------------
 * Portable JSON (portable.py): no member twice in an object, limited depth, no number that may be too large. If a value
 * is not known to be portable, these return NULL. */

typedef struct {
    Text names[MAX_NAMES]; /* members so far of all enclosing objects, the innermost last */
    int count;
} Names;

static const char *after_plain(const char *at, const char *end, int depth, Names *names);

/* Add a name. False if the innermost object, whose names begin at `first`, has it already, or without room. */
static int add_name(Names *names, int first, Text name)
{
    size_t length = name.end - name.at;
    for (int i = first; i < names->count; i++) {
        const Text *other = &names->names[i];
        if ((size_t)(other->end - other->at) == length && *other->at == *name.at
            && memcmp(other->at, name.at, length) == 0)
            return 0;
    }
    if (names->count == MAX_NAMES)
        return 0;
    names->names[names->count++] = name;
    return 1;
}

static int place_of(Text name, const Word *wanted, int count)
{
    for (int i = 0; i < count; i++) {
        if (is(&wanted[i], name))
            return i;
    }
    return -1;
}

/* Store the values of members with `wanted` names in `found`, which is empty before. */
static const char *after_plain_object(const char *at, const char *end, int depth, Names *names, const Word *wanted,
                                      int count, Text *found)
{
    int first = names->count;
    at = after('{', at, end);
    if (at != NULL && (at = after_space(at, end)) < end && *at == '}')
        return at + 1;
    while (at != NULL) {
        Text name, value;
        if ((value.at = after_name(at, end, &name)) == NULL)
            return NULL;
        int place = place_of(name, wanted, count);
        if (place < 0 ? !add_name(names, first, name) : found[place].at != NULL)
            return NULL;
        if ((value.end = after_plain(value.at, end, depth, names)) == NULL)
            return NULL;
        if (place >= 0)
            found[place] = value;
        at = after_space(value.end, end);
        if (at < end && *at == '}') {
            names->count = first;
            return at + 1;
        }
        at = after(',', at, end);
    }
    return NULL;
}

static const char *after_plain_list(const char *at, const char *end, int depth, Names *names)
{
    at = after('[', at, end);
    if (at != NULL && (at = after_space(at, end)) < end && *at == ']')
        return at + 1;
    while (at != NULL) {
        if ((at = after_plain(after_space(at, end), end, depth, names)) == NULL)
            return NULL;
        at = after_space(at, end);
        if (at < end && *at == ']')
            return at + 1;
        at = after(',', at, end);
    }
    return NULL;
}

/* The position after a number, true, false or null. */
static const char *after_plain_scalar(const char *at, const char *end)
{
    const char *begin = at, *exponent = NULL;
    int is_number = at < end && (*at == '-' || (*at >= '0' && *at <= '9'));
    for (; at < end && *at != ',' && *at != '}' && *at != ']' && *at != ' ' && (*at < '\t' || *at > '\r'); at++) {
        if (is_number && (*at == 'e' || *at == 'E'))
            exponent = at + 1;
    }
    if (exponent != NULL && exponent < at && (*exponent == '-' || *exponent == '+'))
        exponent++;
    if (at == begin || at - begin > MAX_DIGITS || (exponent != NULL && at - exponent > 2))
        return NULL;
    return at;
}

/* The position after a value inside `depth` objects and lists. */
static const char *after_plain(const char *at, const char *end, int depth, Names *names)
{
    if (at >= end)
        return NULL;
    switch (*at) {
    case '"':
        return after_string(at, end);
    case '{':
        return depth < MAX_DEPTH ? after_plain_object(at, end, depth + 1, names, NULL, 0, NULL) : NULL;
    case '[':
        return depth < MAX_DEPTH ? after_plain_list(at, end, depth + 1, names) : NULL;
    default:
        return after_plain_scalar(at, end);
    }
}

/* -- times ---------------------------------------------------------------------------------------------------------
 * Days of the proleptic Gregorian calendar, in years that begin in March. */

#define TIME_LENGTH 26 /* "2026-01-02T03:04:05.678Z", with its quotes */

static const char time_pattern[] = "\"dddd-dd-ddTdd:dd:dd.dddZ\"";

static int number(const char *at, int digits)
{
    int value = 0;
    while (digits--)
        value = value * 10 + (*at++ - '0');
    return value;
}

static void digits(char *at, int count, long long value)
{
    while (count--) {
        at[count] = '0' + value % 10;
        value /= 10;
    }
}

static int days_in(int year, int month)
{
    if (month == 2)
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    return 30 + (month + month / 8) % 2;
}

/* Parse a time to milliseconds since 0000-03-01; -1 for any other text. */
static long long milliseconds(Text time)
{
    if (time.end - time.at != TIME_LENGTH)
        return -1;
    for (int i = 0; i < TIME_LENGTH; i++) {
        char wanted = time_pattern[i], is = time.at[i];
        if (wanted == 'd' ? is < '0' || is > '9' : is != wanted)
            return -1;
    }
    int year = number(time.at + 1, 4), month = number(time.at + 6, 2), day = number(time.at + 9, 2);
    int hour = number(time.at + 12, 2), minute = number(time.at + 15, 2), second = number(time.at + 18, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59
        || second > 59)
        return -1;
    year -= month < 3;
    long long days = 365LL * year + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + number(time.at + 21, 3);
}

/* Format milliseconds as a time. False before the year 1 or after 9999. */
static int write_time(char *at, long long moment)
{
    const long long day_ms = 86400000, first = 306 * day_ms, end = (3652059 + 306) * day_ms;
    if (moment < first || moment >= end)
        return 0;
    long long days = moment / day_ms, rest = moment % day_ms;
    long long era = days / 146097, of_era = days % 146097;
    long long year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    long long of_year = of_era - (365 * year + year / 4 - year / 100);
    long long march_month = (5 * of_year + 2) / 153;
    long long month = march_month < 10 ? march_month + 3 : march_month - 9;
    memcpy(at, time_pattern, TIME_LENGTH);
    digits(at + 1, 4, year + era * 400 + (month < 3));
    digits(at + 6, 2, month);
    digits(at + 9, 2, of_year - (153 * march_month + 2) / 5 + 1);
    digits(at + 12, 2, rest / 3600000);
    digits(at + 15, 2, rest / 60000 % 60);
    digits(at + 18, 2, rest / 1000 % 60);
    digits(at + 21, 3, rest % 1000);
    return 1;
}

/* -- an event ------------------------------------------------------------------------------------------------------ */

enum {
    TYPE, MESSAGE_ID, USER_ID, ANONYMOUS_ID, GROUP_ID, PREVIOUS_ID, EVENT, NAME, CATEGORY, PROPERTIES, TRAITS, CONTEXT,
    INTEGRATIONS, TIMESTAMP, UNUSUAL
};

static const Word members[] = {
    WORD("type"), WORD("messageId"), WORD("userId"), WORD("anonymousId"), WORD("groupId"), WORD("previousId"),
    WORD("event"), WORD("name"), WORD("category"), WORD("properties"), WORD("traits"), WORD("context"),
    WORD("integrations"), WORD("timestamp"),
    /* Events with any of these need rewriting: */
    WORD("originalTimestamp"), WORD("sentAt"), WORD("receivedAt"), WORD("sourceId"), WORD("writeKey"),
};
#define MEMBERS ((int)(sizeof members / sizeof *members))

static const Word types[] = {
    WORD("track"), WORD("identify"), WORD("page"), WORD("screen"), WORD("group"), WORD("alias"),
};
#define TYPES ((int)(sizeof types / sizeof *types))
#define TRACK 0
#define ANY -1
static PyObject *type_names[TYPES];

static const char original[] = ",\"originalTimestamp\":";

typedef struct {
    int type;           /* required type; ANY in a batch */
    long long skew;     /* microseconds to add to a timestamp */
    const char *ending; /* members to append, with the closing brace */
    Py_ssize_t ending_length;
    PyObject *accepted; /* makes the result from a type, a messageId and a line */
} Stamp;

static int absent(Text value)
{
    return value.at == NULL || (value.end - value.at == 4 && memcmp(value.at, "null", 4) == 0);
}

static int string_or_absent(Text value)
{
    return absent(value) || *value.at == '"';
}

static int filled(Text value)
{
    return value.at != NULL && *value.at == '"' && value.end - value.at > 2;
}

/* Whether a string is short and has no escapes. */
static int id(Text value)
{
    return filled(value) && value.end - value.at <= MAX_MESSAGE_ID + 2
           && memchr(value.at, '\\', value.end - value.at) == NULL;
}

static int object_or_absent(Text value)
{
    return absent(value) || *value.at == '{';
}

static int type_named(Text name)
{
    for (int i = 0; i < TYPES; i++) {
        if (is(&types[i], name))
            return i;
    }
    return ANY;
}

static int valid(const Text *found, int type)
{
    if (type == ANY)
        return 0;
    for (int i = UNUSUAL; i < MEMBERS; i++) {
        if (found[i].at != NULL)
            return 0;
    }
    return id(found[MESSAGE_ID]) && string_or_absent(found[USER_ID]) && string_or_absent(found[ANONYMOUS_ID])
           && (filled(found[USER_ID]) || filled(found[ANONYMOUS_ID]))
           && string_or_absent(found[GROUP_ID]) && string_or_absent(found[PREVIOUS_ID])
           && string_or_absent(found[EVENT]) && (filled(found[EVENT]) || type != TRACK)
           && string_or_absent(found[NAME]) && string_or_absent(found[CATEGORY])
           && object_or_absent(found[PROPERTIES]) && object_or_absent(found[TRAITS])
           && object_or_absent(found[CONTEXT]) && object_or_absent(found[INTEGRATIONS]);
}

/* Bytes of an event, with those that the library adds for the next receiver. */
static Py_ssize_t size(Text event, const Text *found)
{
    Py_ssize_t bytes = event.end - event.at;
    if (absent(found[CONTEXT]))
        bytes += sizeof ",\"context\":{}" - 1;
    if (absent(found[INTEGRATIONS]))
        bytes += sizeof ",\"integrations\":{}" - 1;
    return bytes;
}

static char *add(char *at, const char *text, size_t length)
{
    memcpy(at, text, length);
    return at + length;
}

/* Assemble the stored line: corrected time, appended members. NULL with or without an error set: without one, the event
 * is unusual. */
static PyObject *line_of(Text event, Text time, const Stamp *stamp)
{
    char corrected[TIME_LENGTH];
    long long moment = milliseconds(time);
    if (moment < 0)
        return NULL;
    /* Rounded down: the skew may have microseconds, and be negative. */
    long long whole = stamp->skew / 1000 - (stamp->skew % 1000 < 0);
    if (!write_time(corrected, moment + whole))
        return NULL;
    const size_t original_length = sizeof original - 1;
    Py_ssize_t length = (event.end - event.at) - 1 + original_length + TIME_LENGTH + stamp->ending_length;
    PyObject *line = PyBytes_FromStringAndSize(NULL, length);
    if (line == NULL)
        return NULL;
    char *at = PyBytes_AsString(line);
    at = add(at, event.at, time.at - event.at);
    at = add(at, corrected, TIME_LENGTH);
    at = add(at, time.end, event.end - 1 - time.end);
    at = add(at, original, original_length);
    at = add(at, time.at, TIME_LENGTH);
    add(at, stamp->ending, stamp->ending_length);
    return line;
}

/* Judge an event. None if unusual; NULL with an error set. `event->end` is set to its end, or NULL without one. */
static PyObject *judged(Text *event, const char *end, const Stamp *stamp)
{
    Text found[MEMBERS];
    Names names;
    memset(found, 0, sizeof found);
    names.count = 0;
    event->end = after_plain_object(event->at, end, 1, &names, members, MEMBERS, found);
    if (event->end == NULL) {
        event->end = after_value(event->at, end);
        Py_RETURN_NONE;
    }
    int type = filled(found[TYPE]) ? type_named((Text){found[TYPE].at + 1, found[TYPE].end - 1}) : ANY;
    if (size(*event, found) > MAX_EVENT || !valid(found, type) || (stamp->type != ANY && type != stamp->type))
        Py_RETURN_NONE;
    PyObject *line = line_of(*event, found[TIMESTAMP], stamp);
    if (line == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    Text named = found[MESSAGE_ID];
    PyObject *message_id = PyUnicode_DecodeUTF8(named.at + 1, named.end - named.at - 2, "strict");
    if (message_id == NULL) {
        Py_DECREF(line);
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *answer = PyObject_CallFunctionObjArgs(stamp->accepted, type_names[type], message_id, line, NULL);
    Py_DECREF(message_id);
    Py_DECREF(line);
    return answer;
}

/* The position after the events of a batch; NULL with or without an error set. */
static const char *after_events(const char *at, const char *end, const Stamp *stamp, PyObject *answers)
{
    at = after('[', at, end);
    while (at != NULL) {
        Text event = {after_space(at, end), NULL};
        if (event.at < end && *event.at == ']')
            return event.at + 1;
        PyObject *answer = judged(&event, end, stamp);
        int failed = answer == NULL || PyList_Append(answers, answer) < 0;
        Py_XDECREF(answer);
        if (failed || event.end == NULL)
            return NULL;
        at = after_space(event.end, end);
        if (at < end && *at != ']')
            at = after(',', at, end);
    }
    return NULL;
}

static const char *after_batch(const char *at, const char *end, const Stamp *stamp, PyObject *answers)
{
    static const Word batch = WORD("batch");
    at = after('{', at, end);
    for (int seen = 0; at != NULL;) {
        Text name;
        if ((at = after_name(at, end, &name)) == NULL)
            return NULL;
        if (!is(&batch, name))
            at = after_value(at, end);
        else if (!seen++)
            at = after_events(at, end, stamp, answers);
        else
            return NULL; /* which of the two counts is unknown here */
        if (at == NULL)
            return NULL;
        at = after_space(at, end);
        if (at < end && *at == '}')
            return at + 1;
        at = after(',', at, end);
    }
    return NULL;
}

PyDoc_STRVAR(usual_doc, "usual(text, type, skew, ending, accepted): an answer for each event, None where it is unusual");

/* Without formats that take a length: their implementation differs between the Python that builds this and an older
 * one that loads it. */
static int bytes_of(PyObject *bytes, Text *text)
{
    char *at;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(bytes, &at, &length) < 0)
        return 0;
    *text = (Text){at, at + length};
    return 1;
}

static PyObject *usual(PyObject *module, PyObject *arguments)
{
    PyObject *given, *named, *end;
    Text text, ending;
    Py_ssize_t length;
    Stamp stamp;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOLOO", &given, &named, &stamp.skew, &end, &stamp.accepted) ||
        !bytes_of(given, &text) || !bytes_of(end, &ending))
        return NULL;
    stamp.ending = ending.at;
    stamp.ending_length = ending.end - ending.at;
    const char *name = PyUnicode_AsUTF8AndSize(named, &length);
    if (name == NULL)
        return NULL;
    Text type = {name, name + length};
    stamp.type = type_named(type);
    PyObject *answers = PyList_New(0);
    if (answers == NULL)
        return NULL;
    if (stamp.type == ANY) {
        text.end = after_batch(text.at, text.end, &stamp, answers);
    } else {
        PyObject *answer = judged(&text, text.end, &stamp);
        if (answer != NULL)
            PyList_Append(answers, answer);
        Py_XDECREF(answer);
    }
    if (!PyErr_Occurred() && text.end != NULL)
        return answers;
    Py_DECREF(answers);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"usual", usual, METH_VARARGS, usual_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_validate", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__validate(void)
{
    for (int i = 0; i < TYPES; i++) {
        type_names[i] = PyUnicode_FromString(types[i].text);
        if (type_names[i] == NULL)
            return NULL;
    }
    return PyModule_Create(&definition);
}
