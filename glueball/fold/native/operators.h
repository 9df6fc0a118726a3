/* Calls of single operators: looked up by operator, attributes and kinds of the inputs, and recorded.

   The one idea: as in blocks.h. What is not known, or unusual, is given to the twin (operator_calls.py).

   Not here: how a call is appended (append.h), what it means (operator_calls.py). */
#ifndef GLUEBALL_OPERATORS_H
#define GLUEBALL_OPERATORS_H
#include "append.h"

/* ----------------------------------------------------------------------------------------------- calls of operators */

enum { TWIN = 0, PLAIN = 1, VARIADIC = 2, SUM = 3, CONSTANT = 4 }; /* recording.py: kind_of_operator */

static int class_of(PyObject *op)
{
    PyObject *found = PyDict_GetItemWithError(known.operators, op);
    if (found == NULL) {
        if (PyErr_Occurred())
            return -1;
        PyObject *made = PyObject_CallOneArg(known.classify, op);
        if (made == NULL)
            return -1;
        int failed = PyDict_SetItem(known.operators, op, made);
        Py_DECREF(made);
        if (failed)
            return -1;
        found = made; /* the dictionary holds it */
    }
    return (int)PyLong_AsLong(found);
}

/* Whether equal values of this class are the same to an operator: True == 1.0 is not. */
static int exact(PyObject *value)
{
    if (PyTuple_CheckExact(value)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); i++)
            if (!PyLong_CheckExact(PyTuple_GET_ITEM(value, i)))
                return 0;
        return 1;
    }
    return value == Py_None || PyLong_CheckExact(value) || PyBool_Check(value) || PyUnicode_CheckExact(value);
}

/* Return the attributes as a part of the key: 1, 1.0 and True are three different values. */
static PyObject *attributes_of(PyObject *attrs)
{
    PyObject *made = PyTuple_New(PyDict_Size(attrs)), *key, *value;
    Py_ssize_t place = 0, index = 0;
    while (made != NULL && PyDict_Next(attrs, &place, &key, &value)) {
        PyObject *shown = exact(value) ? Py_NewRef(value) : PyObject_Repr(value);
        PyObject *part = shown == NULL ? NULL : PyTuple_Pack(3, key, (PyObject *)Py_TYPE(value), shown);
        Py_XDECREF(shown);
        if (part == NULL)
            Py_CLEAR(made);
        else
            PyTuple_SET_ITEM(made, index++, part);
    }
    return made;
}

/* Whether attributes are of sorts that cannot change: only such are noted (memo.h). */
static int lasting(PyObject *attrs)
{
    PyObject *key, *value;
    Py_ssize_t place = 0;
    while (PyDict_Next(attrs, &place, &key, &value))
        if (!exact(value) && !PyFloat_CheckExact(value))
            return 0;
    return 1;
}

/* Write the form of a call down as it is noted, and its references; 0: the twin must look. */
static int write_operator(Recorder *self, int class, PyObject *op, PyObject **input, Py_ssize_t count, PyObject *attrs,
                          Parts *parts, Refs *refs)
{
    PyObject *key, *value, *first = NULL;
    Py_ssize_t place = 0;
    parts_add(parts, op);
    if (parts_add_modes(parts))
        return -1;
    while (PyDict_Next(attrs, &place, &key, &value)) {
        parts_add(parts, key);
        parts_add(parts, value);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *kind;
        int64_t ref;
        int mine = own_future(self, input[i], &kind, &ref);
        if (mine <= 0 || refs_push(refs, ref))
            return mine == 0 ? 0 : -1;
        if (class == SUM && first != NULL && kind != first)
            return 0;
        if (class != SUM || first == NULL)
            parts_add(parts, kind);
        first = first == NULL ? kind : first;
    }
    return 1;
}

/* Return the key by which the twin knows a call. kinds: of the inputs. */
static PyObject *operator_key(int class, PyObject *op, PyObject **input, Py_ssize_t count, PyObject *attrs)
{
    PyObject *key = PyTuple_New(class == SUM ? 6 : count + 4);
    PyObject *attributes = key == NULL ? NULL : attributes_of(attrs);
    if (attributes == NULL)
        goto failed;
    PyTuple_SET_ITEM(key, 0, Py_NewRef(op));
    PyTuple_SET_ITEM(key, 1, attributes);
    if (modes(key, 2) < 0)
        goto failed;
    if (class == SUM) {
        PyTuple_SET_ITEM(key, 4, Py_NewRef(slot(slot(input[0], in_future.kind), in_kind.children)));
        PyTuple_SET_ITEM(key, 5, PyLong_FromLong(0));
        return key;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(key, i + 4, Py_NewRef(slot(input[i], in_future.kind)));
    return key;
failed:
    Py_XDECREF(key);
    return NULL;
}

/* Return an array made out of nothing that there is already, as operator_calls.py keeps it; NULL without an error: the
   twin must look. */
static PyObject *constant(Recorder *self, PyObject *op, PyObject *attrs)
{
    PyObject *device = NULL, *attributes = attributes_of(attrs), *result = NULL;
    if (attributes == NULL || PyContextVar_Get(known.device, NULL, &device) < 0 || device == NULL) {
        Py_XDECREF(attributes);
        return NULL;
    }
    PyObject *key = PyTuple_Pack(3, op, attributes, device);
    Py_DECREF(attributes);
    Py_DECREF(device);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(self->constants, key);
    Py_XDECREF(key);
    if (found != NULL && PyTuple_CheckExact(found) && PyTuple_GET_SIZE(found) == 2) {
        long long ref = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 0));
        if (ref != -1 || !PyErr_Occurred())
            result = make_future((PyObject *)self, ref, PyTuple_GET_ITEM(found, 1), Py_None);
    }
    return result;
}

/* Record the call of an operator whose form is known; NULL without an error: the twin must look. */
static PyObject *operator_hit(Recorder *self, PyObject *op, PyObject *inputs, PyObject *attrs)
{
    PyObject *rule = PyDict_GetItemWithError(known.dispatch, name.watched), *result = NULL; /* mixed precision */
    int class = rule == NULL || !PyTuple_CheckExact(rule) || PyTuple_GET_SIZE(rule) ? TWIN : class_of(op);
    if (class <= TWIN || !PyDict_CheckExact(attrs) || !(PyTuple_CheckExact(inputs) || PyList_CheckExact(inputs)))
        return NULL;
    PyObject *ctx = PyDict_GetItemWithError(attrs, name.ctx);
    if (ctx != NULL && ctx != Py_None)
        return NULL;
    if (class != PLAIN && PySequence_Fast_GET_SIZE(inputs) == 1) {
        PyObject *only = PySequence_Fast_ITEMS(inputs)[0];
        inputs = PyTuple_CheckExact(only) || PyList_CheckExact(only) ? only : inputs;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(inputs);
    PyObject **input = PySequence_Fast_ITEMS(inputs);
    if (count == 0 || class == CONSTANT)
        return count == 0 && class == CONSTANT ? constant(self, op, attrs) : NULL;
    Parts parts = {.count = 0};
    Refs refs;
    refs_begin(&refs);
    if (write_operator(self, class, op, input, count, attrs, &parts, &refs) <= 0)
        goto end;
    if (class == SUM && count == 1) { /* the sum of one array is the array */
        result = make_future((PyObject *)self, refs.data[0], slot(input[0], in_future.kind), Py_None);
        goto end;
    }
    PyObject *call = memo_find(self->memos, &parts);
    Py_XINCREF(call);
    if (call == NULL) {
        PyObject *key = operator_key(class, op, input, count, attrs);
        call = key == NULL ? NULL : PyDict_GetItemWithError(known.calls, key);
        Py_XINCREF(call);
        Py_XDECREF(key);
        if (call != NULL && lasting(attrs))
            memo_note(self->memos, &parts, call);
    }
    if (call != NULL)
        result = append(self, call, &refs, NULL, class == SUM ? count : 0);
    Py_XDECREF(call);
end:
    refs_end(&refs);
    return result;
}

static PyObject *recorder_invoke(PyObject *self, PyObject *const *argv, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "invoke(op, inputs, attrs, name)");
        return NULL;
    }
    PyObject *result = operator_hit((Recorder *)self, argv[0], argv[1], argv[2]);
    if (result != NULL || PyErr_Occurred())
        return result;
    return PyObject_CallFunctionObjArgs(known.record_operator, self, argv[0], argv[1], argv[2], argv[3], NULL);
}

#endif
