/* Recording calls: what fold/recording.py does in Python, for the calls whose form has been seen before.

   The one idea: a hit costs a few lookups. A call's form is the tuple of the kinds of its arguments; the tables of forms
   are the twin's own dictionaries, so whatever is unusual (a new form, an array of an unusual class, hooks, mixed
   precision) is given to the twin, and both may record into the same scope in turn. References go to buffers of int64.

   Not here: how objects are read (objects.h), queues and futures (queue.h, append.h), flushes in which nothing is new
   (round.h), what a call means (units.py, operator_calls.py). */
#include "append.h"
#include "round.h"
#include "source.h"

/* ------------------------------------------------------------------------------------------- arrays from outside */

/* Return the kind of an array, borrowed. `ragged`: a vector whose elements are rows. */
static PyObject *kind_of_array(PyObject *array, int ragged)
{
    PyObject *tensor = slot(array, in_future.tensor), *ctx = slot(array, in_future.ctx);
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

/* Put the modes of this moment at the front of a key. */
static int modes(PyObject *key, Py_ssize_t at)
{
    PyObject *recording, *training;
    if (PyContextVar_Get(known.recording, NULL, &recording) < 0)
        return -1;
    PyTuple_SET_ITEM(key, at, recording);
    if (PyContextVar_Get(known.training, NULL, &training) < 0)
        return -1;
    PyTuple_SET_ITEM(key, at + 1, training);
    return 0;
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
static int register_arrays(Recorder *self, Form *form, Refs *refs, PyObject *args, int vectors)
{
    for (Py_ssize_t i = 0; i < refs->size; i++) {
        if (refs->data[i] >= 0)
            continue;
        Py_ssize_t index = (Py_ssize_t)(-1 - refs->data[i]);
        PyObject *kind = form->kinds[index];
        int ragged = vectors && PyTuple_GET_SIZE(slot(kind, in_kind.shape)) == 1;
        if (external(self, PyTuple_GET_ITEM(args, index), kind, ragged, &refs->data[i]))
            return -1;
    }
    return 0;
}

/* Record the call of a block whose form is known; NULL without an error: the twin must look. */
static PyObject *block_hit(Recorder *self, PyObject *held, PyObject *args)
{
    PyObject *unit = PyDict_GetItemWithError(held, name.fold_unit), *result = NULL;
    if (unit == NULL || Py_TYPE(unit) != known.unit || usable(held, unit) <= 0 ||
        PyTuple_GET_SIZE(args) > MOST_ARGUMENTS)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    Form form = {.key = PyTuple_New(count + 2)};
    refs_begin(&form.refs);
    refs_begin(&form.lists);
    refs_begin(&form.order);
    if (form.key == NULL || modes(form.key, 0) < 0)
        goto end;
    for (Py_ssize_t i = 0; i < count; i++)
        if (take(self, &form, PyTuple_GET_ITEM(args, i), i) <= 0)
            goto end;
    PyObject *call = find_call(unit, &form);
    if (call == NULL)
        goto end;
    int plain = slot(call, in_call.sizes) == Py_None;
    Refs *refs = form.late && plain ? &form.order : &form.refs; /* no list for the call: all in the order given */
    if (form.outside && register_arrays(self, &form, refs, args, slot(call, in_call.vectors) == Py_True))
        goto end;
    Py_INCREF(call); /* whatever is called below may empty the tables */
    result = append(self, call, refs, refs == &form.order || !form.listed ? NULL : &form.lists, form.children);
    Py_DECREF(call);
end:
    form_end(&form);
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
    PyObject *result = block_hit((Recorder *)self, held, argv[1]);
    Py_DECREF(held);
    if (result != NULL || PyErr_Occurred())
        return result;
    return PyObject_CallFunctionObjArgs(known.record_block, self, argv[0], argv[1], NULL);
}

/* ----------------------------------------------------------------------------------------------- calls of operators */

enum { TWIN = 0, PLAIN = 1, VARIADIC = 2, SUM = 3 }; /* recording.py: kind_of_operator */

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
    PyObject **input = PySequence_Fast_ITEMS(inputs), *first = NULL;
    if (count == 0)
        return NULL;
    Refs refs;
    refs_begin(&refs);
    PyObject *key = PyTuple_New(class == SUM ? 6 : count + 4);
    PyObject *attributes = key == NULL ? NULL : attributes_of(attrs);
    if (attributes == NULL)
        goto end;
    PyTuple_SET_ITEM(key, 0, Py_NewRef(op));
    PyTuple_SET_ITEM(key, 1, attributes);
    if (modes(key, 2) < 0)
        goto end;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *kind;
        int64_t ref;
        if (own_future(self, input[i], &kind, &ref) <= 0 || refs_push(&refs, ref))
            goto end;
        first = first == NULL ? kind : first;
        if (class != SUM)
            PyTuple_SET_ITEM(key, i + 4, Py_NewRef(kind));
        else if (kind != first)
            goto end;
    }
    if (class == SUM) {
        PyTuple_SET_ITEM(key, 4, Py_NewRef(slot(first, in_kind.children)));
        PyTuple_SET_ITEM(key, 5, PyLong_FromLong(0));
        if (count == 1) { /* the sum of one array is the array */
            result = make_future((PyObject *)self, refs.data[0], first, Py_None);
            goto end;
        }
    }
    PyObject *call = PyDict_GetItemWithError(known.calls, key);
    if (call != NULL) {
        Py_INCREF(call);
        result = append(self, call, &refs, NULL, class == SUM ? count : 0);
        Py_DECREF(call);
    }
end:
    Py_XDECREF(key);
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

/* --------------------------------------------------------------------------------------------------- rows of a future */

/* Return future[key] for a plain slice of a value of two or more axes; the Python method does everything else. */
static PyObject *future_item(PyObject *self, PyObject *key)
{
    PyObject *folder = slot(self, in_future.folder), *current = NULL, *kind = slot(self, in_future.kind), *made = NULL;
    long long ref = PyLong_AsLongLong(slot(self, in_future.ref));
    if (ref == -1 && PyErr_Occurred())
        return NULL;
    if (PyContextVar_Get(known.current, NULL, &current) < 0)
        return NULL;
    int here = current == folder && ref >= 0;
    Py_XDECREF(current);
    PyObject *shape = slot(kind, in_kind.shape);
    Py_ssize_t start, stop, step;
    if (!here || !PySlice_Check(key) || PyTuple_GET_SIZE(shape) < 2)
        goto twin;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, 0));
    if (step != 1 || size < 0)
        goto twin;
    PyObject *rows = PyLong_FromSsize_t(PySlice_AdjustIndices(size, &start, &stop, 1));
    if (rows == NULL)
        return NULL;
    PyObject *part = PyDict_GetItemWithError(slot(kind, in_kind.parts), rows);
    if (part != NULL)
        Py_INCREF(part);
    else if (!PyErr_Occurred())
        part = PyObject_CallMethodOneArg(kind, name.part, rows);
    Py_DECREF(rows);
    if (part != NULL)
        made = make_future(folder, ref + start, part, known.part);
    Py_XDECREF(part);
    return made;
twin:
    return PyObject_CallFunctionObjArgs(known.item, self, key, NULL);
}

static PyMethodDef item_method = {"__getitem__", future_item, METH_O, "Return future[key]."};

/* setup(**objects): be told what there is (see recording.py), and take rows of futures over. */
static PyObject *set_up(PyObject *self, PyObject *args, PyObject *objects)
{
    PyObject *done = setup(self, args, objects);
    PyObject *method = done == NULL ? NULL : PyDescr_NewMethod(known.future, &item_method);
    if (method == NULL || PyObject_SetAttrString((PyObject *)known.future, "__getitem__", method) < 0)
        Py_CLEAR(done);
    Py_XDECREF(method);
    return done;
}

/* ------------------------------------------------------------------------------------------------------- the module */

static PyObject *recorder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    Recorder *self = (Recorder *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if ((self->queues = PyDict_New()) == NULL || (self->externals = PyDict_New()) == NULL ||
        (self->strangers = PyDict_New()) == NULL || (self->fresh = PyList_New(0)) == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int recorder_traverse(Recorder *self, visitproc visit, void *arg)
{
    Py_VISIT(self->queues);
    Py_VISIT(self->externals);
    Py_VISIT(self->strangers);
    Py_VISIT(self->fresh);
    return 0;
}

static int recorder_clear(Recorder *self)
{
    Py_CLEAR(self->queues);
    Py_CLEAR(self->externals);
    Py_CLEAR(self->strangers);
    Py_CLEAR(self->fresh);
    return 0;
}

static void recorder_dealloc(Recorder *self)
{
    PyObject_GC_UnTrack(self);
    recorder_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* add(call, refs, children=0): for the twin, which has looked a call up itself. */
static PyObject *recorder_add(PyObject *self, PyObject *const *argv, Py_ssize_t count)
{
    if (count < 2 || count > 3 || Py_TYPE(argv[0]) != known.call || !PyList_Check(argv[1])) {
        PyErr_SetString(PyExc_TypeError, "add(call, list of references, children=0)");
        return NULL;
    }
    Py_ssize_t children = count == 3 ? PyLong_AsSsize_t(argv[2]) : 0;
    if (children == -1 && PyErr_Occurred())
        return NULL;
    Refs refs;
    refs_begin(&refs);
    PyObject *result = NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(argv[1]); i++) {
        long long ref = PyLong_AsLongLong(PyList_GET_ITEM(argv[1], i));
        if ((ref == -1 && PyErr_Occurred()) || refs_push(&refs, ref))
            goto end;
    }
    result = append((Recorder *)self, argv[0], &refs, NULL, children);
end:
    refs_end(&refs);
    return result;
}

static PyMethodDef recorder_methods[] = {
    {"call", (PyCFunction)(void (*)(void))recorder_call, METH_FASTCALL, "Record the call of a block."},
    {"invoke", (PyCFunction)(void (*)(void))recorder_invoke, METH_FASTCALL, "Record the call of an operator."},
    {"add", (PyCFunction)(void (*)(void))recorder_add, METH_FASTCALL, "Append a call; return its results as futures."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef recorder_members[] = {
    {"queues", T_OBJECT_EX, offsetof(Recorder, queues), 0, "signature -> its queue"},
    {"externals", T_OBJECT_EX, offsetof(Recorder, externals), 0, "id -> (reference, kind, array) of arrays from outside"},
    {"strangers", T_OBJECT_EX, offsetof(Recorder, strangers), 0, "the same, of vectors taken element by element"},
    {"fresh", T_OBJECT_EX, offsetof(Recorder, fresh), 0, "those that are not stored in the arenas yet"},
    {"next", T_LONGLONG, offsetof(Recorder, next), 0, "number of the next value"},
    {"waiting", T_LONGLONG, offsetof(Recorder, waiting), 0, "recorded and not executed calls"},
    {NULL, 0, 0, 0, NULL},
};
static PyTypeObject RecorderType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "glueball.fold._recorder.Recorder",
    .tp_doc = "Records calls of blocks and operators.",
    .tp_basicsize = sizeof(Recorder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = recorder_new,
    .tp_dealloc = (destructor)recorder_dealloc,
    .tp_traverse = (traverseproc)recorder_traverse,
    .tp_clear = (inquiry)recorder_clear,
    .tp_methods = recorder_methods,
    .tp_members = recorder_members,
};

static PyMethodDef module_methods[] = {
    {"setup", (PyCFunction)(void (*)(void))set_up, METH_VARARGS | METH_KEYWORDS, "Be told which objects there are."},
    SOURCE_METHOD,
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_recorder", "The compiled recorder of folding; its twin is recording.py.", -1,
    module_methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__recorder(void)
{
    if (make_names())
        return NULL;
    if ((known.operators = PyDict_New()) == NULL || (known.outside = PyDict_New()) == NULL ||
        PyType_Ready(&IntsType) < 0 || PyType_Ready(&QueueType) < 0 || PyType_Ready(&RecorderType) < 0 ||
        PyType_Ready(&RoundsType) < 0)
        return NULL;
    recorder_type = &RecorderType;
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddObjectRef(made, "Queue", (PyObject *)&QueueType) < 0 ||
        PyModule_AddObjectRef(made, "Recorder", (PyObject *)&RecorderType) < 0 ||
        PyModule_AddObjectRef(made, "Rounds", (PyObject *)&RoundsType) < 0)
        Py_CLEAR(made);
    return made;
}
