/* Rounds: flushes in which nothing is new, in one native call each.

   The one idea: samples of a map that read values make many flushes with few calls, and of the same few signatures. Once
   a signature has been run (rounds.py says which ones will do), all that a flush needs is here: the words of its
   environment, the arenas of its arguments and results. Groups are found (plan.h), rows are given to results, rows of
   arguments are looked up, and the groups run, without an object of Python for any of it.

   Only what is plain: no gradients, no lists of children, one row per value. Whatever else stands in a queue, the whole
   flush is left to execute.py, before anything has been changed.

   Not here: what is known of signatures (prepared.h), what runs (runner.c, by the address that its walker() gives). */
#ifndef GLUEBALL_FOLD_ROUND_H
#define GLUEBALL_FOLD_ROUND_H
#include "plan.h"
#include "prepared.h"

enum { ALIGNED = 16, ROOTS_OF_READ = 5, ROOTS_OF_RESULT = 3 }; /* as in stream.py and commands.py */

/* One flush. */
typedef struct {
    Rounds *rounds;
    Plan plan;
    Prepared **own;                        /* per work */
    Numbers rows;
    int64_t *begins;                       /* per work and one more: its first group */
    int64_t *sizes, *starts, *firsts, *table, *ran, *environments; /* parts of `space` */
    int64_t *space;
    PyObject *clocks;
} Round;

static int64_t aligned(int64_t count) { return (count + ALIGNED - 1) / ALIGNED * ALIGNED; }

/* ---------------------------------------------------------------------------------------------------- one flush */

/* Look at a queue: 1 when its calls can run here, 0 when not, -1 after an error. */
static int look(Round *round, Py_ssize_t index, PyObject *signature, PyObject *queued)
{
    Work *work = &round->plan.works.all[index];
    Queue *queue = (Queue *)queued;
    Prepared *found = prepared_of(round->rounds, signature);
    if (found == NULL || Py_TYPE(queued) != &QueueType)
        return PyErr_Occurred() ? -1 : 0;
    if (PyList_GET_SIZE(queue->blocks) || queue->children->size || queue->rows->size || !queue->ids->size ||
        queue->refs->size != queue->ids->size * found->plain)
        return 0;
    round->own[index] = found;
    work->ids.at = queue->ids->data;
    work->refs.at = queue->refs->data;
    work->count = work->ids.count = queue->ids->size;
    work->refs.count = queue->refs->size;
    work->plain = found->plain;
    work->outputs = found->outputs;
    return 1;
}

/* Read the queues; as `look`. */
static int read_queues(Round *round, PyObject *queues, const Numbers *same)
{
    Works *works = &round->plan.works;
    PyObject *signature, *queue;
    Py_ssize_t place = 0, index = 0;
    works->count = PyDict_Size(queues);
    if (!works->count)
        return 0;
    if (!(works->all = room(works->count, sizeof(Work))) || !(round->own = room(works->count, sizeof(Prepared *))))
        return -1;
    while (PyDict_Next(queues, &place, &signature, &queue)) {
        Work *work = &works->all[index];
        int fits = look(round, index, signature, queue);
        if (fits <= 0)
            return fits;
        work->first = works->calls;
        work->argument = works->arguments;
        works->calls += work->count;
        works->arguments += work->plain;
        works->references += work->refs.count;
        index++;
    }
    for (index = 0; same->at != NULL && index < works->count; index++) /* values by their first names */
        for (Py_ssize_t i = 0; i < works->all[index].refs.count; i++) {
            int64_t *ref = &works->all[index].refs.at[i], value = *ref >> OFFSET;
            if (value < same->count && same->at[value] != value)
                *ref = same->at[value] << OFFSET | (*ref & ((1 << OFFSET) - 1));
        }
    return 1;
}

/* Count groups, and see that nothing could run ahead of its loop; as `look`. */
static int check_groups(Round *round)
{
    const Plan *plan = &round->plan;
    Py_ssize_t kinds = plan->works.count;
    if (!(round->begins = room(kinds + 1, sizeof(int64_t))))
        return -1;
    for (Py_ssize_t group = 0; group < plan->groups; group++)
        round->begins[plan->turns[group] + 1]++;
    for (Py_ssize_t i = 0; i < kinds; i++) {
        int64_t groups = round->begins[i + 1];
        round->begins[i + 1] += round->begins[i];
        if (groups < 2 || !feeds_itself(plan, i))
            continue;
        uint64_t bits = 0;
        int fits = 0;
        for (Py_ssize_t argument = 0; argument < plan->works.all[i].plain; argument++)
            bits |= (uint64_t)from_outside(plan, i, argument) << argument;
        for (int form = 0; form < round->own[i]->forms; form++)
            fits |= round->own[i]->calm[form] == bits;
        if (!fits)
            return 0;
    }
    return 1;
}

/* Make room for the numbers of all groups. */
static int make_space(Round *round)
{
    const Plan *plan = &round->plan;
    Py_ssize_t kinds = plan->works.count, groups = plan->groups;
    int64_t starts = 0, firsts = 0;
    for (Py_ssize_t i = 0; i < kinds; i++) {
        starts += (round->begins[i + 1] - round->begins[i]) * round->own[i]->plain;
        firsts += (round->begins[i + 1] - round->begins[i]) * round->own[i]->outputs;
    }
    int64_t total = 2 * groups + starts + firsts + plan->works.references + kinds;
    if (!(round->space = room((Py_ssize_t)total, sizeof(int64_t))) ||
        !(round->clocks = PyBytes_FromStringAndSize(NULL, (1 + 2 * groups) * (Py_ssize_t)sizeof(double))))
        return -1;
    round->sizes = round->space;
    round->ran = round->sizes + groups;
    round->starts = round->ran + groups;
    round->firsts = round->starts + starts;
    round->environments = round->firsts + firsts;
    round->table = round->environments + kinds;
    int64_t done[2] = {0, 0};
    for (Py_ssize_t i = 0; i < kinds; i++) { /* groups of a work stand together, in the order they run */
        done[0] = round->begins[i];
        for (Py_ssize_t group = 0; group < groups; group++)
            if (plan->turns[group] == i)
                round->sizes[done[0]++] = plan->sizes[group];
    }
    return 0;
}

/* Give the results of all groups their rows. */
static int place_results(Round *round)
{
    Rounds *rounds = round->rounds;
    const Plan *plan = &round->plan;
    int64_t *firsts = round->firsts, *taken = room(plan->works.count, sizeof(int64_t));
    int64_t **own = room(plan->works.count, sizeof(int64_t *));
    if (!taken || !own)
        goto failed;
    for (Py_ssize_t i = 0; i < rounds->places; i++) {
        rounds->homes[i].used = PyLong_AsLongLong(slot(rounds->homes[i].arena, in_arena.used));
        if (rounds->homes[i].used == -1)
            goto failed;
    }
    for (Py_ssize_t i = 0; i < plan->works.count; i++) {
        own[i] = firsts;
        firsts += (round->begins[i + 1] - round->begins[i]) * round->own[i]->outputs;
    }
    for (Py_ssize_t turn = 0; turn < plan->groups; turn++) {
        Py_ssize_t index = (Py_ssize_t)plan->turns[turn];
        const Work *work = &plan->works.all[index];
        int64_t groups = round->begins[index + 1] - round->begins[index], count = plan->sizes[turn];
        const int64_t *calls = plan->order + work->first + taken[index];
        for (Py_ssize_t result = 0; result < work->outputs; result++) {
            Home *home = &rounds->homes[round->own[index]->target[result]];
            own[index][result * groups] = home->used;
            for (int64_t i = 0; i < count; i++)
                round->rows.at[work->ids.at[calls[i]] + result] = home->used + i;
            home->used += count;
        }
        own[index]++;
        taken[index] += count;
    }
    PyMem_Free(taken);
    PyMem_Free(own);
    return 0;
failed:
    PyMem_Free(taken);
    PyMem_Free(own);
    return -1;
}

/* Take the rows of the arenas that results were given. */
static int take_rows(Rounds *self)
{
    for (Py_ssize_t i = 0; i < self->places; i++) {
        Home *home = &self->homes[i];
        if (visit(home))
            return -1;
        if (home->used == PyLong_AsLongLong(slot(home->arena, in_arena.used)))
            continue;
        PyObject *used = PyLong_FromLongLong(home->used), *done;
        if (used == NULL)
            return -1;
        if (home->used > home->room) {
            done = PyObject_CallMethodOneArg(home->arena, name.room, used);
            Py_XDECREF(done);
            if (done == NULL || visit(home)) {
                Py_DECREF(used);
                return -1;
            }
        } else {
            PyObject *pool = slot(home->arena, in_arena.pool);
            PyObject **places[] = {(PyObject **)((char *)home->arena + in_arena.used),
                                   (PyObject **)((char *)pool + in_pool.used)};
            Py_XSETREF(*places[0], Py_NewRef(used));
            Py_XSETREF(*places[1], Py_NewRef(used));
        }
        Py_DECREF(used);
    }
    return 0;
}

/* Look up the rows of an argument of all calls of a work; starts: per group, its first row where its rows follow each
   other, else -1. */
static int read_rows(Round *round, Py_ssize_t index, Py_ssize_t argument, int64_t *table, int64_t *starts)
{
    const Work *work = &round->plan.works.all[index];
    const int64_t *calls = round->plan.order + work->first;
    for (int64_t group = round->begins[index]; group < round->begins[index + 1]; group++) {
        int64_t follow = 1;
        const int64_t *begin = table;
        for (int64_t i = 0; i < round->sizes[group]; i++, calls++, table++) {
            int64_t ref = work->refs.at[*calls * work->plain + argument], value = ref >> OFFSET;
            if (value < 0 || value >= round->rows.count || round->rows.at[value] < 0)
                return wrong("a value that has not been computed");
            *table = round->rows.at[value] + (ref & ((1 << OFFSET) - 1));
            follow &= *table == *begin + i;
        }
        *starts++ = follow ? *begin : -1;
    }
    return 0;
}

/* Fill in the environments. */
static int bind_works(Round *round)
{
    Rounds *rounds = round->rounds;
    int64_t *starts = round->starts, *firsts = round->firsts, reached = 0;
    size_t most_bytes = 0;
    for (Py_ssize_t i = 0; i < round->plan.works.count; i++) {
        const Work *work = &round->plan.works.all[i];
        Prepared *own = round->own[i];
        int64_t *words = own->words, groups = round->begins[i + 1] - round->begins[i], most = 0;
        for (int64_t group = round->begins[i]; group < round->begins[i + 1]; group++)
            most = round->sizes[group] > most ? round->sizes[group] : most;
        words[E_SIZES] = (int64_t)(intptr_t)(round->sizes + round->begins[i]);
        words[E_GROUP] = words[E_BEGIN] = words[E_ORIGIN] = 0;
        words[E_MOST] = aligned(most);
        words[E_TOTAL] = aligned(work->count);
        words[E_ROWS] = (int64_t)(intptr_t)round->table;
        for (Py_ssize_t argument = 0; argument < work->plain; argument++, starts += groups, reached += work->count) {
            int64_t *root = words + own->reads + ROOTS_OF_READ * argument;
            if (read_rows(round, i, argument, round->table + reached, starts))
                return -1;
            root[0] = (int64_t)(intptr_t)rounds->homes[own->source[argument]].at;
            root[1] = reached;
            root[2] = (int64_t)(intptr_t)starts;
        }
        for (Py_ssize_t result = 0; result < work->outputs; result++, firsts += groups) {
            int64_t *root = words + own->results + ROOTS_OF_RESULT * result;
            root[0] = (int64_t)(intptr_t)rounds->homes[own->target[result]].at;
            root[1] = (int64_t)(intptr_t)firsts;
        }
        if ((size_t)(words[E_MOST] * own->scratch) > most_bytes)
            most_bytes = (size_t)(words[E_MOST] * own->scratch);
        round->environments[i] = (int64_t)(intptr_t)words;
    }
    if (most_bytes + 64 > rounds->size) { /* of one group at a time: all may use the same */
        char *scratch = PyMem_Malloc(2 * most_bytes + 64);
        if (scratch == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        PyMem_Free(rounds->scratch);
        rounds->scratch = scratch;
        rounds->size = 2 * most_bytes + 64;
    }
    for (Py_ssize_t i = 0; i < round->plan.works.count; i++)
        round->own[i]->words[E_ROOTS] = ((int64_t)(intptr_t)rounds->scratch + 63) / 64 * 64;
    return 0;
}

/* Take the queues from the recorder and run the groups. Returns the queues and readings of the clock. */
static PyObject *run_groups(Round *round, Recorder *recorder)
{
    PyObject *fresh = PyDict_New(), *queues = recorder->queues;
    if (fresh == NULL)
        return NULL;
    int failed;
    recorder->queues = fresh;
    recorder->waiting = 0;
    double *clocks = (double *)(void *)PyBytes_AS_STRING(round->clocks);
    Py_BEGIN_ALLOW_THREADS
    failed = round->rounds->walk(round->rounds->machine, round->plan.turns, round->plan.groups, round->environments, 0,
                                 NULL, clocks, round->ran);
    Py_END_ALLOW_THREADS
    PyObject *made = failed ? PyErr_NoMemory() : PyTuple_Pack(2, queues, round->clocks);
    Py_DECREF(queues);
    return made;
}

/* run(recorder, rows, same): run all that is recorded; None where something of it must be left to execute.py.
   rows: by value the row where it lies; same: by value its first name, or None. Returns (queues, clocks). */
static PyObject *rounds_run(Rounds *self, PyObject *args)
{
    PyObject *recorder, *rows, *same_names, *result = NULL;
    Numbers same = {0};
    Round round = {.rounds = self};
    int fits = -1;
    if (!PyArg_ParseTuple(args, "OOO", &recorder, &rows, &same_names))
        return NULL;
    if (!PyObject_TypeCheck(recorder, recorder_type)) {
        PyErr_SetString(PyExc_TypeError, "no recorder");
        return NULL;
    }
    if (numbers(rows, &round.rows, 1) < 0 || numbers(same_names, &same, 0) < 0)
        goto end;
    int64_t values = ((Recorder *)recorder)->next;
    if ((fits = read_queues(&round, ((Recorder *)recorder)->queues, &same)) <= 0)
        goto end;
    if (values > round.rows.count) {
        fits = wrong("rows of values");
        goto end;
    }
    fits = -1;
    if (prepare(&round.plan, values) < 0 || !(round.plan.order = room(round.plan.works.calls, sizeof(int64_t))))
        goto end;
    connect(&round.plan);
    if (classify(&round.plan) < 0 || run_all(&round.plan) < 0 || (fits = check_groups(&round)) <= 0)
        goto end;
    if (!make_space(&round) && !place_results(&round) && !take_rows(self) && !bind_works(&round))
        result = run_groups(&round, (Recorder *)recorder);
end:
    PyMem_Free(round.plan.order);
    drop(&round.plan);
    release(&round.rows);
    release(&same);
    PyMem_Free(round.own);
    PyMem_Free(round.begins);
    PyMem_Free(round.space);
    Py_XDECREF(round.clocks);
    return result == NULL && fits == 0 && !PyErr_Occurred() ? Py_NewRef(Py_None) : result;
}

static PyMethodDef rounds_methods[] = {
    {"learn", (PyCFunction)(void (*)(void))rounds_learn, METH_VARARGS, "Note how calls of a signature run."},
    {"allow", (PyCFunction)(void (*)(void))rounds_allow, METH_VARARGS, "Note that nothing can run ahead of a loop."},
    {"forget", (PyCFunction)(void (*)(void))rounds_forget, METH_NOARGS, "Forget the signatures."},
    {"run", (PyCFunction)(void (*)(void))rounds_run, METH_VARARGS, "Run all that is recorded, or return None."},
    {"read", (PyCFunction)(void (*)(void))rounds_read, METH_VARARGS, "Note where numbers of a kind lie."},
    {"numbers", (PyCFunction)(void (*)(void))rounds_numbers, METH_VARARGS, "Give futures their numbers."},
    {NULL, NULL, 0, NULL},
};
static PyTypeObject RoundsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "glueball.fold._recorder.Rounds",
    .tp_doc = "Flushes in which nothing is new; see rounds.py.",
    .tp_basicsize = sizeof(Rounds),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = rounds_new,
    .tp_dealloc = (destructor)rounds_dealloc,
    .tp_methods = rounds_methods,
};

#endif
