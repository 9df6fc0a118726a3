/* Work that is cut into pieces, which threads take one after the other.
 *
 * The one idea: the machine's words (executor/native/machine.py) hold the address of a function that runs another one on
 * all threads of torch's pool; a counter that they share says which piece is next.
 */
#ifndef GLUEBALL_THREADS_H
#define GLUEBALL_THREADS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MANY 250000 /* multiplications from which a product takes all threads */

/* The machine: addresses of functions, and from where threads pay (elements times weight). */
enum { M_SGEMM, M_DGEMM, M_TEAM, M_THREADS, M_BLOCK, M_PARALLEL };

typedef void (*Team)(void (*)(void *), void *, unsigned, unsigned);

/* Run a function that takes pieces until there are no more; `next` is the first one's number, in the work. */
static inline void on_threads(const int64_t *machine, void (*function)(void *), void *work, atomic_int_fast64_t *next,
                              int64_t cost) {
    Team team = (Team)(intptr_t)machine[M_TEAM];
    atomic_init(next, 0);
    if (team == NULL || machine[M_THREADS] < 2 || cost < MANY)
        function(work);
    else
        team(function, work, (unsigned)machine[M_THREADS], 0);
}

static inline int64_t next_piece(atomic_int_fast64_t *next) {
    return atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
}
#endif
