/* What the recorder knows of Python's side: the objects that setup() was told, the offsets of slots, and names.

   The one idea: objects of Python classes with __slots__ (Future, Call, Kind, Unit, Signature) are read by the offsets
   of their slots, which are asked of the classes themselves, once.

   Not here: what is done with them (recorder.c). */
#ifndef GLUEBALL_OBJECTS_H
#define GLUEBALL_OBJECTS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>

#define MOST_NOTED 9 /* arguments of a call, or children of a list, in forms that are noted: fewer */
#define OFFSET 24 /* future.py: a reference is number << OFFSET | row */

/* What setup() was told, and names. One set for the process: the package is imported once. */
static struct {
    PyTypeObject *future, *array, *call, *kind, *unit, *signature, *arena, *pool, *block, *fiber, *hub;
    PyObject *no_children, *part, *recording, *training, *current, *changes, *dispatch, *calls;
    PyObject *record_block, *record_operator, *classify, *kind_of, *item, *call_block, *asscalar, *scalars;
    PyObject *fiber_here, *device, *stop, *grad_enabled, *set_grad;
    PyObject *numbers[MOST_NOTED]; /* stand for lists of so many children in noted forms */
    PyObject *operators, *outside; /* op -> its class as an integer; (ctx, dtype, shape, ragged) -> Kind */
    PyObject *small;               /* dtype -> scalars of small whole numbers, by number */
} known;
static struct { Py_ssize_t folder, ref, kind, value, state, tensor, ctx; } in_future;
static struct { Py_ssize_t signature, kinds, rows, structure, together, sizes, vectors, others; } in_call;
static struct { Py_ssize_t shape, size, dtype, children, outside, parts; } in_kind;
static struct { Py_ssize_t hub, key, stopping, stop, done, greenlet, current; } in_fiber;
static struct { Py_ssize_t waiting, flusher, ready, urgent, grad, running; } in_hub;
static struct { Py_ssize_t changes, hybridized, refused, calls; } in_unit;
static struct { Py_ssize_t data, used, pool; } in_arena;
static struct { Py_ssize_t used; } in_pool;
static Py_ssize_t ragged_in_signature;
static struct {
    PyObject *fold_unit, *active, *hooks, *pre_hooks, *count, *dtype, *shape, *queue, *watched, *ctx, *part, *data_ptr, *room;
    PyObject *number, *parent, *switching, *tensor;
} name;

static inline PyObject *slot(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

static inline void fill(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    Py_INCREF(value);
    *(PyObject **)((char *)object + offset) = value;
}

/* Make the names that attributes and keys are looked up by. */
static int make_names(void)
{
    struct { PyObject **place; const char *text; } names[] = {
        {&name.fold_unit, "_fold_unit"}, {&name.active, "_active"}, {&name.hooks, "_forward_hooks"},
        {&name.pre_hooks, "_forward_pre_hooks"}, {&name.count, "count"}, {&name.dtype, "dtype"},
        {&name.shape, "shape"}, {&name.queue, "_queue"}, {&name.watched, "_watched"},
        {&name.ctx, "ctx"}, {&name.part, "part"}, {&name.data_ptr, "data_ptr"},
        {&name.room, "room"}, {&name.number, "number"}, {&name.parent, "parent"}, {&name.switching, "switch"},
        {&name.tensor, "_t"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if ((*names[i].place = PyUnicode_InternFromString(names[i].text)) == NULL)
            return -1;
    return 0;
}

/* Find the offset of a slot of a Python class. */
static int find_slot(PyTypeObject *type, const char *text, Py_ssize_t *offset)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, text);
    if (found == NULL)
        return -1;
    int fits = Py_TYPE(found) == &PyMemberDescr_Type;
    if (fits)
        *offset = ((PyMemberDescrObject *)found)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s.%s is no slot", type->tp_name, text);
    Py_DECREF(found);
    return fits ? 0 : -1;
}

static int find_slots(void)
{
    struct { PyTypeObject *type; const char *text; Py_ssize_t *offset; } wanted[] = {
        {known.future, "folder", &in_future.folder}, {known.future, "ref", &in_future.ref},
        {known.future, "kind", &in_future.kind}, {known.future, "_value", &in_future.value},
        {known.future, "_ag", &in_future.state}, {known.array, "_t", &in_future.tensor},
        {known.array, "_ctx", &in_future.ctx}, {known.call, "signature", &in_call.signature},
        {known.call, "kinds", &in_call.kinds}, {known.call, "rows", &in_call.rows},
        {known.call, "structure", &in_call.structure}, {known.call, "together", &in_call.together},
        {known.call, "sizes", &in_call.sizes}, {known.call, "vectors", &in_call.vectors},
        {known.call, "others", &in_call.others}, {known.kind, "shape", &in_kind.shape},
        {known.kind, "children", &in_kind.children}, {known.kind, "outside", &in_kind.outside},
        {known.kind, "size", &in_kind.size}, {known.kind, "dtype", &in_kind.dtype},
        {known.kind, "_parts", &in_kind.parts},
        {known.unit, "changes", &in_unit.changes}, {known.unit, "hybridized", &in_unit.hybridized},
        {known.unit, "refused", &in_unit.refused}, {known.unit, "calls", &in_unit.calls},
        {known.signature, "ragged", &ragged_in_signature}, {known.arena, "data", &in_arena.data},
        {known.arena, "used", &in_arena.used}, {known.arena, "pool", &in_arena.pool},
        {known.pool, "used", &in_pool.used},
        {known.fiber, "hub", &in_fiber.hub}, {known.fiber, "key", &in_fiber.key},
        {known.fiber, "stopping", &in_fiber.stopping}, {known.fiber, "stop", &in_fiber.stop},
        {known.fiber, "done", &in_fiber.done}, {known.fiber, "greenlet", &in_fiber.greenlet},
        {known.fiber, "current", &in_fiber.current}, {known.hub, "waiting", &in_hub.waiting},
        {known.hub, "flusher", &in_hub.flusher}, {known.hub, "ready", &in_hub.ready},
        {known.hub, "urgent", &in_hub.urgent}, {known.hub, "grad", &in_hub.grad},
        {known.hub, "running", &in_hub.running},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (find_slot(wanted[i].type, wanted[i].text, wanted[i].offset))
            return -1;
    return 0;
}

/* setup(**objects): be told what there is; see recording.py. */
static PyObject *setup(PyObject *self, PyObject *args, PyObject *objects)
{
    (void)self;
    if (PyTuple_GET_SIZE(args) || objects == NULL) {
        PyErr_SetString(PyExc_TypeError, "setup(**objects)");
        return NULL;
    }
    struct { const char *text; PyObject **place; int is_type; } wanted[] = {
        {"future", (PyObject **)&known.future, 1}, {"array", (PyObject **)&known.array, 1},
        {"call", (PyObject **)&known.call, 1}, {"kind", (PyObject **)&known.kind, 1},
        {"unit", (PyObject **)&known.unit, 1}, {"signature", (PyObject **)&known.signature, 1},
        {"arena", (PyObject **)&known.arena, 1}, {"pool", (PyObject **)&known.pool, 1},
        {"block", (PyObject **)&known.block, 1}, {"fiber", (PyObject **)&known.fiber, 1},
        {"hub", (PyObject **)&known.hub, 1}, {"no_children", &known.no_children, 0}, {"part", &known.part, 0}, {"recording", &known.recording, 0},
        {"training", &known.training, 0}, {"current", &known.current, 0}, {"changes", &known.changes, 0},
        {"dispatch", &known.dispatch, 0}, {"calls", &known.calls, 0}, {"record_block", &known.record_block, 0},
        {"record_operator", &known.record_operator, 0}, {"classify", &known.classify, 0},
        {"kind_of", &known.kind_of, 0}, {"item", &known.item, 0},
        {"call_block", &known.call_block, 0}, {"asscalar", &known.asscalar, 0}, {"scalars", &known.scalars, 0},
        {"fiber_here", &known.fiber_here, 0}, {"device", &known.device, 0}, {"stop", &known.stop, 0}, {"grad_enabled", &known.grad_enabled, 0},
        {"set_grad", &known.set_grad, 0},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        PyObject *given = PyDict_GetItemString(objects, wanted[i].text);
        if (given == NULL || (wanted[i].is_type && !PyType_Check(given))) {
            PyErr_Format(PyExc_TypeError, "setup() wants %s", wanted[i].text);
            return NULL;
        }
        Py_XSETREF(*wanted[i].place, Py_NewRef(given));
    }
    if (find_slots())
        return NULL;
    for (int i = 0; i < MOST_NOTED; i++)
        if (known.numbers[i] == NULL && (known.numbers[i] = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type)) == NULL)
            return NULL;
    Py_RETURN_NONE;
}

#endif
