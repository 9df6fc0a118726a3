/* Groups of calls: what schedule.py does in Python, in one pass over all references.

   The one idea: calls that became ready stand in a queue of their work, which is long enough for all of its calls; a
   group is what stands there when the work's turn comes. So the queues are, at the end, each work's calls in the order
   in which they run. Which work is next is the twin's rule, and the components are found in the twin's order, for the
   groups must be the same ones.

   Not here: how calls are read (calls.h), who asks for groups (planner.c, round.h). */
#ifndef GLUEBALL_FOLD_PLAN_H
#define GLUEBALL_FOLD_PLAN_H
#include "calls.h"

typedef struct {
    Works works;
    int64_t base, span;     /* the first value that is not computed yet, and how many there are from there on */
    int32_t *owner;         /* by value from base on: the call that makes it; -1: comes from outside */
    int32_t *kind;          /* by call: its work */
    int32_t *waiting;       /* by call: how many results it waits for */
    int32_t *first;         /* by call, and one more: where the calls that read its results begin in `after` */
    int32_t *after;         /* calls that read a result, by the call that makes it */
    int32_t *source, *target; /* edges as they are found: a call, and one that reads it */
    Py_ssize_t edges;
    unsigned char *makes;   /* by argument and work: whether the work makes values of the argument */
    unsigned char *between; /* by work and work: whether the second reads values of the first */
    int32_t *component;     /* by work; numbers in topological order */
    int64_t *order;         /* the queues: per work its calls, from `first` of the work on */
    int64_t *head, *tail;   /* by work: where its queue begins and ends */
    int64_t *turns, *sizes; /* by group: its work, and how many calls */
    Py_ssize_t groups;
} Plan;

static void drop(Plan *plan)
{
    forget(&plan->works);
    PyMem_Free(plan->owner);
    PyMem_Free(plan->kind);
    PyMem_Free(plan->waiting);
    PyMem_Free(plan->first);
    PyMem_Free(plan->after);
    PyMem_Free(plan->source);
    PyMem_Free(plan->target);
    PyMem_Free(plan->makes);
    PyMem_Free(plan->between);
    PyMem_Free(plan->component);
    PyMem_Free(plan->head);
    PyMem_Free(plan->tail);
    PyMem_Free(plan->turns);
    PyMem_Free(plan->sizes);
}

static int prepare(Plan *plan, int64_t values)
{
    Works *works = &plan->works;
    Py_ssize_t kinds = works->count, calls = works->calls;
    if (calls >= INT32_MAX || works->references >= INT32_MAX || values < 0)
        return wrong("too many calls");
    plan->base = values;
    for (Py_ssize_t i = 0; i < kinds; i++)
        if (works->all[i].count && works->all[i].ids.at[0] < plan->base)
            plan->base = works->all[i].ids.at[0];
    plan->span = values - plan->base;
    if (!(plan->owner = room((Py_ssize_t)plan->span, sizeof(int32_t))) ||
        !(plan->kind = room(calls, sizeof(int32_t))) ||
        !(plan->waiting = room(calls, sizeof(int32_t))) || !(plan->first = room(calls + 1, sizeof(int32_t))) ||
        !(plan->after = room(works->references, sizeof(int32_t))) ||
        !(plan->source = room(works->references, sizeof(int32_t))) ||
        !(plan->target = room(works->references, sizeof(int32_t))) ||
        !(plan->makes = room(works->arguments * kinds, 1)) || !(plan->between = room(kinds * kinds, 1)) ||
        !(plan->component = room(kinds, sizeof(int32_t))) || !(plan->head = room(kinds, sizeof(int64_t))) ||
        !(plan->tail = room(kinds, sizeof(int64_t))) || !(plan->turns = room(calls, sizeof(int64_t))) ||
        !(plan->sizes = room(calls, sizeof(int64_t))))
        return -1;
    memset(plan->owner, 0xff, (size_t)plan->span * sizeof(int32_t));
    for (Py_ssize_t i = 0; i < kinds; i++) {
        const Work *work = &works->all[i];
        for (Py_ssize_t call = 0; call < work->count; call++) {
            int32_t number = (int32_t)(work->first + call);
            int32_t *own = plan->owner + (work->ids.at[call] - plan->base);
            plan->kind[number] = (int32_t)i;
            for (Py_ssize_t result = 0; result < work->outputs; result++)
                own[result] = number;
        }
    }
    return 0;
}

/* Note that a call reads a value. */
static inline void meet(Plan *plan, int32_t call, int64_t ref, unsigned char *makes)
{
    int64_t value = (ref >> OFFSET) - plan->base;
    if (value < 0 || value >= plan->span || plan->owner[value] < 0)
        return;
    int32_t maker = plan->owner[value];
    makes[plan->kind[maker]] = 1;
    plan->source[plan->edges] = maker;
    plan->target[plan->edges++] = call;
    plan->first[maker + 1]++;
    plan->waiting[call]++;
}

/* Find who waits for whom. */
static void connect(Plan *plan)
{
    Works *works = &plan->works;
    Py_ssize_t kinds = works->count;
    for (Py_ssize_t i = 0; i < kinds; i++) {
        const Work *work = &works->all[i];
        unsigned char *makes = plan->makes + work->argument * kinds;
        for (Py_ssize_t call = 0; call < work->count; call++)
            for (Py_ssize_t argument = 0; argument < work->plain + work->listed; argument++) {
                Py_ssize_t count;
                const int64_t *refs = references(work, call, argument, &count);
                for (Py_ssize_t j = 0; j < count; j++)
                    meet(plan, (int32_t)(work->first + call), refs[j], makes + argument * kinds);
            }
        for (Py_ssize_t argument = 0; argument < work->plain + work->listed; argument++)
            for (Py_ssize_t maker = 0; maker < kinds; maker++)
                if (makes[argument * kinds + maker])
                    plan->between[maker * kinds + i] = 1;
    }
    for (Py_ssize_t call = 0; call < works->calls; call++)
        plan->first[call + 1] += plan->first[call];
    for (Py_ssize_t edge = plan->edges - 1; edge >= 0; edge--) /* from behind: `first` of a call ends where it begins */
        plan->after[--plan->first[plan->source[edge] + 1]] = plan->target[edge];
    memmove(plan->first, plan->first + 1, (size_t)works->calls * sizeof(int32_t));
    plan->first[works->calls] = (int32_t)plan->edges;
}

/* Find strongly connected components as `components` does: Tarjan's algorithm, without recursion. */
static int classify(Plan *plan)
{
    int32_t count = (int32_t)plan->works.count, clock = 0, numbered = 0, depth = 0, stacked = 0;
    int32_t *held, *index, *low, *stack, *path, *position, *on;
    int in_order = 1;
    for (int32_t source = 0; source < count; source++)
        for (int32_t target = 0; target < source; target++)
            in_order &= !plan->between[(Py_ssize_t)source * count + target];
    for (int32_t i = 0; i < count; i++)
        plan->component[i] = i;
    if (in_order)
        return 0;
    if (!(held = room((Py_ssize_t)count * 6, sizeof(int32_t))))
        return -1;
    index = held, low = held + count, stack = held + 2 * (Py_ssize_t)count, path = held + 3 * (Py_ssize_t)count;
    position = held + 4 * (Py_ssize_t)count, on = held + 5 * (Py_ssize_t)count;
    for (int32_t root = 0; root < count; root++) {
        if (index[root])
            continue;
        path[depth++] = root;
        while (depth) {
            int32_t vertex = path[depth - 1], child = position[vertex];
            if (!index[vertex]) {
                index[vertex] = low[vertex] = ++clock;
                stack[stacked++] = vertex;
                on[vertex] = 1;
            }
            while (child < count) {
                if (plan->between[(Py_ssize_t)vertex * count + child]) {
                    if (!index[child])
                        break;
                    if (on[child] && low[child] < low[vertex])
                        low[vertex] = low[child]; /* at once, or when it comes back from the child */
                }
                child++;
            }
            position[vertex] = child;
            if (child < count) {
                path[depth++] = child;
                continue;
            }
            depth--;
            if (low[vertex] == index[vertex]) {
                int32_t member;
                do {
                    member = stack[--stacked];
                    on[member] = 0;
                    plan->component[member] = numbered;
                } while (member != vertex);
                numbered++;
            }
        }
    }
    for (int32_t i = 0; i < count; i++)
        plan->component[i] = numbered - 1 - plan->component[i];
    PyMem_Free(held);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sort(int64_t *calls, int64_t count)
{
    for (int64_t i = 1; i < count; i++)
        if (calls[i] < calls[i - 1]) {
            qsort(calls, (size_t)count, sizeof(int64_t), by_number);
            return;
        }
}

/* Return the work to run next among some: the largest part of its remaining calls ready, then the most; -1: none. */
static int32_t choose(const Plan *plan, const int32_t *inside, int32_t count)
{
    double best = -1.0;
    int64_t most = -1;
    int32_t chosen = -1;
    for (int32_t i = 0; i < count; i++) {
        int32_t kind = inside[i];
        int64_t ready = plan->tail[kind] - plan->head[kind];
        if (ready) {
            double part = (double)ready / (double)(plan->works.all[kind].count - plan->head[kind]);
            if (part > best || (part == best && ready > most))
                best = part, most = ready, chosen = kind;
        }
    }
    return chosen;
}

static inline void enqueue(Plan *plan, int32_t call)
{
    int32_t kind = plan->kind[call];
    Py_ssize_t first = plan->works.all[kind].first;
    plan->order[first + plan->tail[kind]++] = call - first;
}

/* Run the group that stands in a work's queue. */
static void run(Plan *plan, int32_t kind)
{
    Py_ssize_t first = plan->works.all[kind].first;
    int64_t *calls = plan->order + first + plan->head[kind], count = plan->tail[kind] - plan->head[kind];
    sort(calls, count);
    plan->turns[plan->groups] = kind;
    plan->sizes[plan->groups++] = count;
    plan->head[kind] = plan->tail[kind];
    for (int64_t i = 0; i < count; i++) {
        Py_ssize_t call = first + (Py_ssize_t)calls[i];
        for (int32_t j = plan->first[call]; j < plan->first[call + 1]; j++)
            if (!--plan->waiting[plan->after[j]])
                enqueue(plan, plan->after[j]);
    }
}

static int run_all(Plan *plan)
{
    int32_t kinds = (int32_t)plan->works.count, begin = 0;
    int32_t *inside = room(kinds, sizeof(int32_t)), *begins = room((Py_ssize_t)kinds + 1, sizeof(int32_t));
    if (!inside || !begins) {
        PyMem_Free(inside);
        PyMem_Free(begins);
        return -1;
    }
    for (int32_t i = 0; i < kinds; i++)
        begins[plan->component[i] + 1]++;
    for (int32_t i = 0; i < kinds; i++)
        begins[i + 1] += begins[i];
    for (int32_t i = 0; i < kinds; i++)
        inside[begins[plan->component[i]]++] = i; /* begins[c] is now where component c ends */
    for (Py_ssize_t call = 0; call < plan->works.calls; call++)
        if (!plan->waiting[call])
            enqueue(plan, (int32_t)call);
    for (int32_t number = 0; number < kinds; begin = begins[number++])
        for (int32_t kind; (kind = choose(plan, inside + begin, begins[number] - begin)) >= 0;)
            run(plan, kind);
    PyMem_Free(inside);
    PyMem_Free(begins);
    return 0;
}

/* Whether a work feeds itself through its component. */
static int feeds_itself(const Plan *plan, Py_ssize_t index)
{
    Py_ssize_t count = plan->works.count;
    for (Py_ssize_t other = 0; other < count; other++)
        if (plan->component[index] == plan->component[other] &&
            (plan->between[index * count + other] || plan->between[other * count + index]))
            return 1;
    return 0;
}

/* Whether the values of an argument of a work all come from other components. */
static int from_outside(const Plan *plan, Py_ssize_t index, Py_ssize_t argument)
{
    Py_ssize_t count = plan->works.count;
    const unsigned char *makes = plan->makes + (plan->works.all[index].argument + argument) * count;
    for (Py_ssize_t maker = 0; maker < count; maker++)
        if (makes[maker] && plan->component[maker] == plan->component[index])
            return 0;
    return 1;
}

#endif
