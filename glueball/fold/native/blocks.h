/* Calls of blocks: looked up by the forms of their arguments, and recorded.

   The one idea: a form is known by the kinds of the arguments; the tables are the twin's own (units.py), so what is not
   known, or unusual, is given to the twin, and both may record into the same scope in turn.

   Not here: how a call is appended (append.h), what it means (units.py). */
#ifndef GLUEBALL_BLOCKS_H
#define GLUEBALL_BLOCKS_H
#include "append.h"

/* ------------------------------------------------------------------------------------------- arrays from outside */

/* Return the kind of an array, borrowed. `ragged`: a vector whose elements are rows. */
static PyObject *kind_of_array(PyObject *array, int ragged)
{
    PyObject *tensor = slot(array, in_future.tensor), *ctx = slot(array, in_future.ctx);
    if (tensor == NULL) { /* a result of a compiled block that is not on torch's tape yet: asking puts it there */
        Py_XDECREF(PyObject_GetAttr(array, name.tensor));
        if (PyErr_Occurred())
            return NULL;
        tensor = slot(array, in_future.tensor);
    }
    if (tensor == NULL || ctx == NULL) {
        PyErr_SetString(PyExc_AttributeError, "an array without a value");
        return NULL;
    }
    PyObject *key = PyTuple_New(4);
    if (key == NULL)
        return NULL;
    PyTuple_SET_ITEM(key, 0, Py_NewRef(ctx));
    PyTuple_SET_ITEM(key, 3, Py_NewRef(ragged ? Py_True : Py_False));
    PyTuple_SET_ITEM(key, 1, PyObject_GetAttr(tensor, name.dtype));
    PyTuple_SET_ITEM(key, 2, PyTuple_GET_ITEM(key, 1) == NULL ? NULL : PyObject_GetAttr(tensor, name.shape));
    PyObject *kind = NULL;
    if (PyTuple_GET_ITEM(key, 2) != NULL) {
        kind = PyDict_GetItemWithError(known.outside, key);
        if (kind == NULL && !PyErr_Occurred()) {
            PyObject *made = PyObject_Call(known.kind_of, key, NULL);
            if (made != NULL && PyDict_SetItem(known.outside, key, made) == 0)
                kind = made; /* the dictionary holds it */
            Py_XDECREF(made);
        }
    }
    Py_DECREF(key);
    return kind;
}

/* Return the reference of an array from outside in `ref`. `ragged`: its elements are rows. */
static int external(Recorder *self, PyObject *array, PyObject *kind, int ragged, int64_t *ref)
{
    PyObject *id = PyLong_FromVoidPtr(array);
    if (id == NULL)
        return -1;
    PyObject *table = ragged ? self->strangers : self->externals;
    PyObject *found = PyDict_GetItemWithError(table, id), *made = NULL;
    int result = -1;
    if (found == NULL && !PyErr_Occurred()) {
        kind = ragged ? kind_of_array(array, 1) : kind;
        PyObject *number = kind == NULL ? NULL : PyLong_FromLongLong((long long)self->next << OFFSET);
        made = number == NULL ? NULL : PyTuple_Pack(3, number, kind, array);
        Py_XDECREF(number);
        if (made != NULL && PyDict_SetItem(table, id, made) == 0 && PyList_Append(self->fresh, made) == 0) {
            self->next++;
            found = made;
        }
    }
    if (found != NULL) {
        *ref = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 0));
        result = *ref == -1 && PyErr_Occurred() ? -1 : 0;
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, "an array was not registered");
    }
    Py_XDECREF(made);
    Py_DECREF(id);
    return result;
}

/* -------------------------------------------------------------------------------------------------- calls of blocks */

/* Whether the block's unit may be used as it is. */
static int usable(PyObject *held, PyObject *unit)
{
    PyObject *count = PyObject_GetAttr(known.changes, name.count);
    if (count == NULL)
        return -1;
    int same = PyObject_RichCompareBool(slot(unit, in_unit.changes), count, Py_EQ);
    Py_DECREF(count);
    if (same <= 0)
        return same;
    PyObject *hooks = PyDict_GetItemWithError(held, name.hooks), *before = PyDict_GetItemWithError(held, name.pre_hooks);
    PyObject *refused = slot(unit, in_unit.refused);
    return slot(unit, in_unit.hybridized) == PyDict_GetItemWithError(held, name.active) && hooks != NULL &&
           before != NULL && PyDict_Check(hooks) && PyDict_Check(before) && PyDict_Size(hooks) == 0 &&
           PyDict_Size(before) == 0 && PyUnicode_Check(refused) && PyUnicode_GetLength(refused) == 0;
}

enum { MOST_ARGUMENTS = 64 };

/* What the arguments of a call come to. Arrays from outside stand in refs as -1 - (number of the argument). */
typedef struct {
    PyObject *key, *kinds[MOST_ARGUMENTS]; /* kinds: of arrays from outside, by number; borrowed of known.outside */
    Refs refs, lists, order;
    Py_ssize_t children;
    int listed, outside, late; /* late: an array comes after a list */
} Form;

static void form_end(Form *form)
{
    Py_XDECREF(form->key);
    refs_end(&form->refs);
    refs_end(&form->lists);
    refs_end(&form->order);
}

/* Take a list of children; 1 when it is one, 0 when the twin must look, -1 after an error. */
static int take_list(Recorder *self, Form *form, PyObject *value, PyObject **part)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    PyObject **child = PySequence_Fast_ITEMS(value), *own = NULL;
    if (count == 0) {
        *part = known.no_children;
        return 1;
    }
    if (form->listed && count != form->children)
        return 0;
    form->children = count;
    form->listed = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *kind;
        int64_t ref;
        int mine = own_future(self, child[i], &kind, &ref);
        if (mine <= 0)
            return mine;
        if (own != NULL && kind != own)
            return 0;
        own = kind;
        if (refs_push(&form->lists, ref) || refs_push(&form->order, ref))
            return -1;
    }
    *part = slot(own, in_kind.children);
    return 1;
}

/* Take one argument; as take_list. */
static int take(Recorder *self, Form *form, PyObject *value, Py_ssize_t index)
{
    PyObject *part = NULL, *kind = NULL;
    int64_t ref = -1 - index;
    int mine = own_future(self, value, &kind, &ref);
    if (mine < 0)
        return -1;
    if (mine) {
        part = kind;
    } else if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        int taken = take_list(self, form, value, &part);
        if (taken <= 0)
            return taken;
        PyTuple_SET_ITEM(form->key, index + 2, Py_NewRef(part));
        return 1;
    } else if (Py_TYPE(value) == known.array) {
        ref = -1 - index;
        form->outside = 1;
        if ((kind = kind_of_array(value, 0)) == NULL)
            return -1;
        form->kinds[index] = kind;
        part = slot(kind, in_kind.outside);
    } else if (value == Py_None || PyLong_CheckExact(value) || PyBool_Check(value) || PyUnicode_CheckExact(value)) {
        PyObject *pair = PyTuple_Pack(2, (PyObject *)Py_TYPE(value), value);
        if (pair == NULL)
            return -1;
        PyTuple_SET_ITEM(form->key, index + 2, pair);
        return 1;
    } else {
        return 0;
    }
    form->late = form->listed;
    PyTuple_SET_ITEM(form->key, index + 2, Py_NewRef(part));
    return refs_push(&form->refs, ref) || refs_push(&form->order, ref) ? -1 : 1;
}

/* Return the call of a form, borrowed; NULL where the twin must look. Sets the children that count. */
static PyObject *find_call(PyObject *unit, Form *form)
{
    PyObject *call = PyDict_GetItemWithError(slot(unit, in_unit.calls), form->key);
    if (call == NULL || Py_TYPE(call) != known.call)
        return NULL;
    if (slot(call, in_call.sizes) == Py_None) {
        form->children = 0;
        return call;
    }
    PyObject *children = PyLong_FromSsize_t(form->children);
    if (children == NULL)
        return NULL;
    int fits = PySet_Contains(slot(call, in_call.sizes), children);
    if (fits == 0) {
        call = PyDict_GetItemWithError(slot(call, in_call.others), children);
        if (call != NULL && (Py_TYPE(call) != known.call || slot(call, in_call.sizes) != Py_None))
            call = NULL;
        form->children = 0;
    }
    Py_DECREF(children);
    return fits < 0 ? NULL : call;
}

/* Register arrays from outside in place of their marks. */
static int register_arrays(Recorder *self, Form *form, Refs *refs, PyObject *const *args, int vectors)
{
    for (Py_ssize_t i = 0; i < refs->size; i++) {
        if (refs->data[i] >= 0)
            continue;
        Py_ssize_t index = (Py_ssize_t)(-1 - refs->data[i]);
        PyObject *kind = form->kinds[index];
        int ragged = vectors && PyTuple_GET_SIZE(slot(kind, in_kind.shape)) == 1;
        if (external(self, args[index], kind, ragged, &refs->data[i]))
            return -1;
    }
    return 0;
}

/* Write the form of a call down as it is noted (memo.h), and its references. 0: it is of a sort that is not noted; -1
   after an error. */
static int write_form(Recorder *self, PyObject *unit, PyObject *const *args, Py_ssize_t count, Parts *parts, Refs *refs,
                      Refs *lists, Py_ssize_t *children)
{
    parts_add(parts, unit);
    if (parts_add_modes(parts))
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *kind, *own = NULL;
        int64_t ref;
        int mine = own_future(self, args[i], &kind, &ref);
        if (mine < 0 || (mine && refs_push(refs, ref)))
            return -1;
        if (mine && lists->size)
            return 0; /* an array after a list */
        if (mine || args[i] == Py_None || args[i] == Py_True || args[i] == Py_False) {
            parts_add(parts, mine ? kind : args[i]);
            continue;
        }
        if (!PyList_CheckExact(args[i]) && !PyTuple_CheckExact(args[i]))
            return 0;
        Py_ssize_t size = PySequence_Fast_GET_SIZE(args[i]);
        PyObject **child = PySequence_Fast_ITEMS(args[i]);
        if (size >= MOST_NOTED || (size && *children && size != *children))
            return 0;
        *children = size ? size : *children;
        parts_add(parts, known.numbers[size]); /* objects of our own: no argument can be one */
        for (Py_ssize_t k = 0; k < size; k++) {
            mine = own_future(self, child[k], &kind, &ref);
            if (mine < 0 || (mine && refs_push(lists, ref)))
                return -1;
            if (!mine || (own != NULL && kind != own))
                return 0;
            own = kind;
        }
        if (size)
            parts_add(parts, own);
    }
    return 1;
}

/* Look a call's form up by a key, and record it; as block_hit. noted: the form as it is to be noted, or NULL. */
static PyObject *look_up(Recorder *self, PyObject *unit, PyObject *const *args, Py_ssize_t count, const Parts *noted)
{
    PyObject *result = NULL;
    Form form = {.key = PyTuple_New(count + 2)};
    refs_begin(&form.refs);
    refs_begin(&form.lists);
    refs_begin(&form.order);
    if (form.key == NULL || modes(form.key, 0) < 0)
        goto end;
    for (Py_ssize_t i = 0; i < count; i++)
        if (take(self, &form, args[i], i) <= 0)
            goto end;
    PyObject *call = find_call(unit, &form);
    if (call == NULL)
        goto end;
    int plain = slot(call, in_call.sizes) == Py_None;
    Refs *refs = form.late && plain ? &form.order : &form.refs; /* no list for the call: all in the order given */
    Py_INCREF(call); /* whatever is called below may empty the tables */
    if (noted != NULL)
        memo_note(self->memos, noted, call);
    if (!form.outside || !register_arrays(self, &form, refs, args, slot(call, in_call.vectors) == Py_True))
        result = append(self, call, refs, refs == &form.order || !form.listed ? NULL : &form.lists, form.children);
    Py_DECREF(call);
end:
    form_end(&form);
    return result;
}

/* Record the call of a block whose form is known; NULL without an error: the twin must look. */
static PyObject *block_hit(Recorder *self, PyObject *held, PyObject *const *args, Py_ssize_t count)
{
    PyObject *unit = PyDict_GetItemWithError(held, name.fold_unit), *result = NULL;
    if (unit == NULL || Py_TYPE(unit) != known.unit || usable(held, unit) <= 0 || count > MOST_ARGUMENTS)
        return NULL;
    Parts parts = {.count = 0};
    Refs refs, lists;
    Py_ssize_t children = 0;
    refs_begin(&refs);
    refs_begin(&lists);
    int written = write_form(self, unit, args, count, &parts, &refs, &lists, &children);
    PyObject *call = written > 0 ? memo_find(self->memos, &parts) : NULL;
    if (call != NULL) {
        Py_INCREF(call);
        result = append(self, call, &refs, lists.size ? &lists : NULL,
                        slot(call, in_call.sizes) == Py_None ? 0 : children);
        Py_DECREF(call);
    } else if (written >= 0) {
        result = look_up(self, unit, args, count, written ? &parts : NULL);
    }
    refs_end(&refs);
    refs_end(&lists);
    return result;
}

static PyObject *recorder_call(PyObject *self, PyObject *const *argv, Py_ssize_t count)
{
    if (count != 2 || !PyTuple_Check(argv[1])) {
        PyErr_SetString(PyExc_TypeError, "call(block, args)");
        return NULL;
    }
    PyObject *held = PyObject_GenericGetDict(argv[0], NULL);
    if (held == NULL)
        return NULL;
    PyObject *const *args = ((PyTupleObject *)argv[1])->ob_item;
    PyObject *result = block_hit((Recorder *)self, held, args, PyTuple_GET_SIZE(argv[1]));
    Py_DECREF(held);
    if (result != NULL || PyErr_Occurred())
        return result;
    return PyObject_CallFunctionObjArgs(known.record_block, self, argv[0], argv[1], NULL);
}

/* block(*args): what HybridBlock.__call__ does, without a frame of Python where a recorder listens and knows the form;
   everything else is the method's own. */
static PyObject *block_call(PyObject *block, PyObject *const *argv, Py_ssize_t count)
{
    PyObject *current = NULL, *result = NULL;
    if (PyContextVar_Get(known.current, NULL, &current) < 0)
        return NULL;
    if (current != NULL && PyObject_TypeCheck(current, recorder_type) && ((Recorder *)current)->direct) {
        PyObject *held = PyObject_GenericGetDict(block, NULL);
        result = held == NULL ? NULL : block_hit((Recorder *)current, held, argv, count);
        Py_XDECREF(held);
    }
    Py_XDECREF(current);
    if (result != NULL || PyErr_Occurred())
        return result;
    PyObject *own[MOST_NOTED + 1], **all = count < MOST_NOTED ? own : PyMem_Malloc((size_t)(count + 1) * sizeof(*all));
    if (all == NULL)
        return PyErr_NoMemory();
    all[0] = block;
    if (count)
        memcpy(all + 1, argv, (size_t)count * sizeof(*all));
    result = PyObject_Vectorcall(known.call_block, all, (size_t)(count + 1), NULL);
    if (all != own)
        PyMem_Free(all);
    return result;
}

#endif
