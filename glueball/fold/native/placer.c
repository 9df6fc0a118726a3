/* Rows of results and arguments: what layout.py does in Python, group after group.

   The one idea: groups are walked twice. The first time every result gets its rows, one group behind the other; then
   the rows that each argument reads are known, whoever makes them, and are written down in the order of the calls.
   Where all rows of a group follow each other only the first one matters: nothing will be copied.

   Not here: how calls are read (calls.h), which groups there are (planner.c). */
#include "calls.h"
#include "source.h"

typedef struct {
    Works works;
    Numbers order, rows; /* calls in the order they run; by value: its first row */
    Py_buffer gradient;  /* by value: whether it depends on something with a gradient */
    Py_ssize_t groups;
    Py_ssize_t *turns;   /* by group: its work */
    Py_ssize_t *begins;  /* by work, and one more: where its groups begin among `ends` */
    Py_ssize_t *ends;    /* per work and group: where the group's calls end */
    int64_t *used;       /* by pool: rows that are taken */
    PyObject *always;    /* by work */
    Py_ssize_t pools;
    int64_t *table, *space; /* rows that are read; everything else that is returned as numbers */
    Py_ssize_t reached, filled;
} Places;

/* What a signature says, as a tuple of tuples; see `_know` in layout.py. */
typedef struct {
    PyObject *sizes, *watched, *widths, *floating, *pools;
    int always; /* whether its results always depend on something with a gradient */
} Spec;

static void drop(Places *places)
{
    forget(&places->works);
    release(&places->order);
    release(&places->rows);
    if (places->gradient.obj)
        PyBuffer_Release(&places->gradient);
    PyMem_Free(places->turns);
    PyMem_Free(places->begins);
    PyMem_Free(places->ends);
    PyMem_Free(places->used);
}

/* Return a small number that is not negative from a tuple or list; -1: an error. */
static int64_t number_in(PyObject *from, Py_ssize_t index)
{
    PyObject *item = PyTuple_Check(from) ? PyTuple_GET_ITEM(from, index) : PyList_GET_ITEM(from, index);
    long long found = PyLong_AsLongLong(item);
    if (!PyErr_Occurred() && (found < 0 || found > (1LL << 40)))
        wrong("a number of rows or calls");
    return PyErr_Occurred() ? -1 : found;
}

static int read_spec(const Places *places, PyObject *specs, Py_ssize_t index, Spec *spec)
{
    const Work *work = &places->works.all[index];
    spec->always = PyList_GET_ITEM(places->always, index) == Py_True;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(specs, index), "O!O!O!O!O!", &PyTuple_Type, &spec->sizes, &PyTuple_Type,
                          &spec->watched, &PyTuple_Type, &spec->widths, &PyTuple_Type, &spec->floating, &PyTuple_Type,
                          &spec->pools))
        return -1;
    if (PyTuple_GET_SIZE(spec->sizes) != work->plain + work->listed ||
        PyTuple_GET_SIZE(spec->watched) != work->plain + work->listed ||
        PyTuple_GET_SIZE(spec->widths) != work->outputs || PyTuple_GET_SIZE(spec->floating) != work->outputs ||
        PyTuple_GET_SIZE(spec->pools) != work->outputs)
        return wrong("a signature");
    return 0;
}

static int read_groups(Places *places, PyObject *turns, PyObject *sizes, PyObject *used)
{
    Works *works = &places->works;
    places->groups = PyList_GET_SIZE(turns);
    places->pools = PyList_GET_SIZE(used);
    if (PyList_GET_SIZE(sizes) != works->count || places->order.count != works->calls)
        return wrong("groups");
    if (!(places->turns = room(places->groups, sizeof(Py_ssize_t))) ||
        !(places->begins = room(works->count + 1, sizeof(Py_ssize_t))) ||
        !(places->ends = room(places->groups, sizeof(Py_ssize_t))) ||
        !(places->used = room(places->pools, sizeof(int64_t))))
        return -1;
    for (Py_ssize_t pool = 0; pool < places->pools; pool++)
        if ((places->used[pool] = number_in(used, pool)) < 0)
            return -1;
    Py_ssize_t group = 0;
    for (Py_ssize_t i = 0; i < works->count; i++) {
        PyObject *own = PyList_GET_ITEM(sizes, i);
        int64_t end = 0;
        places->begins[i] = group;
        if (!PyList_Check(own) || PyList_GET_SIZE(own) > places->groups - group)
            return wrong("sizes of groups");
        for (Py_ssize_t j = 0; j < PyList_GET_SIZE(own); j++) {
            int64_t size = number_in(own, j);
            if (size < 0)
                return -1;
            end += size;
            if (end > works->all[i].count)
                return wrong("sizes of groups");
            places->ends[group++] = (Py_ssize_t)end;
        }
        if (end != works->all[i].count)
            return wrong("calls in groups");
        for (Py_ssize_t j = 0; j < works->all[i].count; j++) {
            int64_t call = places->order.at[works->all[i].first + j];
            if (call < 0 || call >= works->all[i].count)
                return wrong("numbers of calls");
        }
    }
    places->begins[works->count] = group;
    for (Py_ssize_t turn = 0; turn < places->groups; turn++) {
        int64_t index = number_in(turns, turn);
        if (index < 0)
            return -1;
        if (index >= works->count)
            return wrong("turns of groups");
        places->turns[turn] = (Py_ssize_t)index;
    }
    return group == places->groups ? 0 : wrong("groups");
}

/* Find how many numbers will be returned, and make room for them. */
static int make_room(Places *places, PyObject *specs, PyObject **table, PyObject **space)
{
    Works *works = &places->works;
    int64_t reads = 0, others = works->references;
    for (Py_ssize_t i = 0; i < works->count; i++) {
        const Work *work = &works->all[i];
        Spec spec;
        int64_t total = 0;
        if (read_spec(places, specs, i, &spec) < 0)
            return -1;
        for (Py_ssize_t call = 0; call < work->rows.count; call++) {
            if (work->rows.at[call] < 0 || work->rows.at[call] > INT32_MAX)
                return wrong("rows of a call");
            total += work->rows.at[call];
        }
        for (Py_ssize_t argument = 0; argument < work->plain + work->listed; argument++) {
            int64_t size = number_in(spec.sizes, argument);
            if (size < 0)
                return -1;
            if (argument < work->plain && work->rows.view.obj)
                reads += total;
            else
                reads += size * (argument < work->plain ? work->count : work->before[work->count]);
            if (reads > (int64_t)PY_SSIZE_T_MAX / 16)
                return wrong("too many rows");
        }
        others += work->count + (work->listed ? 2 * work->count + 1 : 0) + (work->rows.view.obj ? work->count + 1 : 0);
    }
    return (*table = bytes_for((Py_ssize_t)reads, &places->table)) &&
                   (*space = bytes_for((Py_ssize_t)others, &places->space))
               ? 0
               : -1;
}

/* Give the results of a group their rows, one result after the other; add the first rows to lists. */
static int place(Places *places, const Work *work, const Spec *spec, Py_ssize_t begin, Py_ssize_t end, PyObject *writes)
{
    const int64_t *calls = places->order.at + work->first;
    unsigned char *gradient = places->gradient.buf;
    for (Py_ssize_t result = 0; result < work->outputs; result++) {
        int64_t pool = number_in(spec->pools, result), width = number_in(spec->widths, result);
        if (pool < 0 || width < 0)
            return -1;
        if (pool >= places->pools)
            return wrong("a pool");
        int flows = spec->always && PyTuple_GET_ITEM(spec->floating, result) == Py_True;
        int64_t row = places->used[pool];
        PyObject *first = PyLong_FromLongLong(row);
        int failed = !first || PyList_Append(PyList_GET_ITEM(writes, result), first) < 0;
        Py_XDECREF(first);
        if (failed)
            return -1;
        for (Py_ssize_t i = begin; i < end; i++) {
            int64_t value = work->ids.at[calls[i]] + result;
            places->rows.at[value] = row;
            row += work->rows.view.obj ? work->rows.at[calls[i]] : width;
            if (flows)
                gradient[value] = 1;
        }
        places->used[pool] = row;
    }
    return 0;
}

static PyObject *lists(Py_ssize_t count)
{
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found && i < count; i++) {
        PyObject *own = PyList_New(0);
        if (!own) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SET_ITEM(found, i, own);
    }
    return found;
}

/* Place all results. Return, per work and result, the first row of each group. */
static PyObject *place_all(Places *places, PyObject *specs)
{
    Works *works = &places->works;
    PyObject *found = PyList_New(works->count);
    Py_ssize_t *done = room(works->count, sizeof(Py_ssize_t));
    int failed = !found || !done;
    for (Py_ssize_t i = 0; !failed && i < works->count; i++) {
        PyObject *own = lists(works->all[i].outputs);
        failed = !own;
        if (own)
            PyList_SET_ITEM(found, i, own);
    }
    for (Py_ssize_t turn = 0; !failed && turn < places->groups; turn++) {
        Py_ssize_t index = places->turns[turn], group = places->begins[index] + done[index]++;
        Spec spec;
        failed = group >= places->begins[index + 1] ? wrong("turns of groups") : 0;
        if (!failed)
            failed = read_spec(places, specs, index, &spec) < 0 ||
                     place(places, &works->all[index], &spec,
                           group > places->begins[index] ? places->ends[group - 1] : 0, places->ends[group],
                           PyList_GET_ITEM(found, index)) < 0;
    }
    PyMem_Free(done);
    if (failed)
        Py_CLEAR(found);
    return found;
}

/* --------------------------------------------------------------------------------------------- what arguments read */

/* The rows of an argument as they are written down: whether they followed each other in this group, and in all. */
typedef struct {
    int64_t previous;
    int group, all;
} Run;

static inline int read_value(Places *places, int64_t ref, int64_t width, Run *run, int *flows)
{
    int64_t value = ref >> OFFSET, row;
    if (value < 0 || value >= places->rows.count)
        return wrong("a value that there is not");
    if ((row = places->rows.at[value]) < 0)
        return wrong("a value that has not been computed");
    row += ref & ((1 << OFFSET) - 1);
    places->space[places->filled++] = value;
    *flows |= ((unsigned char *)places->gradient.buf)[value];
    for (int64_t i = 0; i < width; i++, row++) {
        if (row != run->previous + 1) {
            run->group &= run->previous == -2;
            run->all = 0;
        }
        run->previous = row;
        places->table[places->reached++] = row;
    }
    return 0;
}

static int append(PyObject *list, int64_t value)
{
    PyObject *number = PyLong_FromLongLong(value);
    int failed = number ? PyList_Append(list, number) : -1;
    Py_XDECREF(number);
    return failed;
}

/* Return (first value, end, where the rows of each group begin, their first row or -1, need) of an argument. */
static PyObject *read_argument(Places *places, Py_ssize_t index, Py_ssize_t argument, const Spec *spec)
{
    const Work *work = &places->works.all[index];
    const int64_t *calls = places->order.at + work->first;
    int64_t size = number_in(spec->sizes, argument);
    int varying = argument < work->plain && work->rows.view.obj, flows = 0, whole = 1;
    Py_ssize_t values = places->filled, begin = 0, bottom = places->reached;
    int64_t last = -2;
    PyObject *lows = PyList_New(0), *starts = PyList_New(0), *found = NULL, *need = Py_False;
    if (size < 0 || !lows || !starts || append(lows, bottom) < 0)
        goto end;
    for (Py_ssize_t group = places->begins[index]; group < places->begins[index + 1]; group++) {
        Py_ssize_t low = places->reached;
        Run run = {-2, 1, 1};
        for (Py_ssize_t i = begin; i < places->ends[group]; i++) {
            Py_ssize_t count;
            const int64_t *refs = references(work, (Py_ssize_t)calls[i], argument, &count);
            for (Py_ssize_t j = 0; j < count; j++)
                if (read_value(places, refs[j], varying ? work->rows.at[calls[i]] : size, &run, &flows) < 0)
                    goto end;
        }
        begin = places->ends[group];
        if (places->reached > low) {
            whole &= run.group && (last == -2 || places->table[low] == last + 1);
            last = places->table[places->reached - 1];
        }
        if (append(lows, places->reached) < 0 ||
            append(starts, places->reached > low && run.group ? places->table[low] : -1) < 0)
            goto end;
    }
    if (append(starts, places->reached > bottom && whole ? places->table[bottom] : -1) < 0)
        goto end;
    if (PyTuple_GET_ITEM(spec->watched, argument) == Py_True)
        need = spec->always && flows ? Py_True : Py_None;
    found = Py_BuildValue("(nnOOO)", values, places->filled, lows, starts, need);
end:
    Py_XDECREF(lows);
    Py_XDECREF(starts);
    return found;
}

/* Return, per group, how many children its calls have, and how many each of them has where all have as many. */
static PyObject *children_of(const Places *places, Py_ssize_t index)
{
    const Work *work = &places->works.all[index];
    const int64_t *calls = places->order.at + work->first;
    PyObject *edges = PyList_New(0), *same = PyList_New(0), *found = NULL;
    Py_ssize_t i = 0;
    if (!edges || !same)
        goto end;
    for (Py_ssize_t group = places->begins[index]; group < places->begins[index + 1]; group++) {
        int64_t total = 0, first = i < places->ends[group] ? work->children.at[calls[i]] : 0;
        int uniform = 1;
        for (; i < places->ends[group]; i++) {
            total += work->children.at[calls[i]];
            uniform &= work->children.at[calls[i]] == first;
        }
        if (append(edges, total) < 0 || (uniform ? append(same, first) : PyList_Append(same, Py_None)) < 0)
            goto end;
    }
    found = PyTuple_Pack(2, edges, same);
end:
    Py_XDECREF(edges);
    Py_XDECREF(same);
    return found;
}

/* Return (where its ids are, children, edges, rows; first rows of results; counts of children; arguments) of a work. */
static PyObject *describe(Places *places, Py_ssize_t index, PyObject *specs, PyObject *writes)
{
    const Work *work = &places->works.all[index];
    const int64_t *calls = places->order.at + work->first;
    Py_ssize_t ids = places->filled, children = 0, edges = 0, rows = 0;
    int64_t *space = places->space;
    Spec spec;
    if (read_spec(places, specs, index, &spec) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < work->count; i++)
        space[places->filled++] = work->ids.at[calls[i]];
    if (work->listed) {
        children = places->filled, edges = children + work->count;
        for (Py_ssize_t i = 0; i < work->count; i++) { /* space is zeroed: edges begin at 0 */
            space[children + i] = work->children.at[calls[i]];
            space[edges + i + 1] = space[edges + i] + space[children + i];
        }
        places->filled = edges + work->count + 1;
    }
    if (work->rows.view.obj) {
        rows = places->filled;
        for (Py_ssize_t i = 0; i < work->count; i++)
            space[rows + i + 1] = space[rows + i] + work->rows.at[calls[i]];
        places->filled = rows + work->count + 1;
    }
    PyObject *counts = work->listed ? children_of(places, index) : Py_NewRef(Py_None);
    PyObject *reads = counts ? PyList_New(work->plain + work->listed) : NULL;
    for (Py_ssize_t argument = 0; reads && argument < work->plain + work->listed; argument++) {
        PyObject *own = read_argument(places, index, argument, &spec);
        if (own)
            PyList_SET_ITEM(reads, argument, own);
        else
            Py_CLEAR(reads);
    }
    PyObject *found = NULL;
    if (reads)
        found = Py_BuildValue("(nnnnOOO)", ids, children, edges, rows, PyList_GET_ITEM(writes, index), counts, reads);
    Py_XDECREF(counts);
    Py_XDECREF(reads);
    return found;
}

static PyObject *lay_out(PyObject *module, PyObject *arguments)
{
    PyObject *list, *specs, *order, *turns, *sizes, *rows, *gradient, *used;
    PyObject *table = NULL, *space = NULL, *writes = NULL, *found = NULL, *taken = NULL, *result = NULL;
    Places places = {0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!OO!O!OOO!O!", &PyList_Type, &list, &PyList_Type, &specs, &order, &PyList_Type,
                          &turns, &PyList_Type, &sizes, &rows, &gradient, &PyList_Type, &used, &PyList_Type,
                          &places.always))
        return NULL;
    if (numbers(order, &places.order, 0) < 0 || numbers(rows, &places.rows, 1) < 0 ||
        PyObject_GetBuffer(gradient, &places.gradient, PyBUF_WRITABLE) < 0 ||
        read_works(list, &places.works, places.rows.count) < 0)
        goto end;
    if (places.gradient.len != places.rows.count || PyList_GET_SIZE(specs) != places.works.count ||
        PyList_GET_SIZE(places.always) != places.works.count) {
        wrong("tables of values");
        goto end;
    }
    if (read_groups(&places, turns, sizes, used) < 0 || make_room(&places, specs, &table, &space) < 0 ||
        !(writes = place_all(&places, specs)) || !(found = PyList_New(places.works.count)))
        goto end;
    for (Py_ssize_t i = 0; i < places.works.count; i++) {
        PyObject *own = places.works.all[i].count ? describe(&places, i, specs, writes) : Py_NewRef(Py_None);
        if (!own)
            goto end;
        PyList_SET_ITEM(found, i, own);
    }
    if ((taken = list_of(places.used, places.pools)))
        result = PyTuple_Pack(4, table, space, found, taken);
end:
    drop(&places);
    Py_XDECREF(table);
    Py_XDECREF(space);
    Py_XDECREF(writes);
    Py_XDECREF(found);
    Py_XDECREF(taken);
    return result;
}

static PyMethodDef methods[] = {
    {"lay_out", lay_out, METH_VARARGS,
     "lay_out(works, specs, order, turns, sizes, rows, gradient, used, always): give results their rows; return (rows "
     "that are read, other numbers, what is where in them per work, used)."},
    SOURCE_METHOD,
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_placer", "Rows of values; see placer.c.", -1, methods,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__placer(void)
{
    return PyModule_Create(&definition);
}
