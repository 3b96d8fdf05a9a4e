/*
 * For LD_PRELOAD: makes one allocation of one process fail, by number, or all from that one on. Orders are in a file
 * named by AIS_SHORTAGE, which the test and all processes map.
 *
 * There are two kinds of allocations. Those of anybody: malloc() and similar functions. And those of the module (or
 * collectd's plugin) itself, from any pool, slab or heap: it must be linked with --wrap for the functions that have a
 * __wrap_ here. (The allocations of nginx's own code from its pools cannot be recognized from outside, but each block
 * of a pool comes from malloc().)
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ANYBODY,
    MODULE, /* or the plugin */
};

/* tests/harness/shortage.py has the same layout. */
struct orders {
    int32_t pid;    /* the process that the orders apply to */
    int32_t kind;
    int32_t lasts;  /* whether all later ones fail too */
    int32_t failed; /* number of failed ones */
    int64_t nth;    /* 1 for the first; 0: none fails, and they are not counted */
    int64_t count;  /* total number */
    int64_t live;   /* malloc() calls minus free() calls of this process since the orders applied to it */
};

static struct orders *orders;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

/* Now, because nginx clears the environment of its workers. They inherit the mapping. */
__attribute__((constructor)) static void
init(void)
{
    const char *path = getenv("AIS_SHORTAGE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd != -1 ? mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd != -1) {
        close(fd);
    }
    if (p != MAP_FAILED) {
        orders = p;
    }
}

static bool
is_meant(void)
{
    return orders != NULL && orders->pid == getpid();
}

static bool
fails(int kind)
{
    int64_t n;

    if (!is_meant() || orders->nth == 0 || orders->kind != kind) {
        return false;
    }
    n = __atomic_add_fetch(&orders->count, 1, __ATOMIC_RELAXED);
    if (orders->lasts ? n < orders->nth : n != orders->nth) {
        return false;
    }
    __atomic_add_fetch(&orders->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

static void *
tally(void *p)
{
    if (p != NULL && is_meant()) {
        __atomic_add_fetch(&orders->live, 1, __ATOMIC_RELAXED);
    }
    return p;
}

void *
malloc(size_t size)
{
    return fails(ANYBODY) ? NULL : tally(__libc_malloc(size));
}

void *
calloc(size_t n, size_t size)
{
    return fails(ANYBODY) ? NULL : tally(__libc_calloc(n, size));
}

void *
realloc(void *p, size_t size)
{
    void *moved;

    if (fails(ANYBODY)) {
        return NULL;
    }
    moved = __libc_realloc(p, size);
    return p == NULL ? tally(moved) : moved;
}

int
posix_memalign(void **p, size_t alignment, size_t size)
{
    if (fails(ANYBODY)) {
        return ENOMEM;
    }
    *p = tally(__libc_memalign(alignment, size));
    return *p != NULL ? 0 : ENOMEM;
}

void *
memalign(size_t alignment, size_t size)
{
    return fails(ANYBODY) ? NULL : tally(__libc_memalign(alignment, size));
}

void
free(void *p)
{
    if (p != NULL && is_meant()) {
        __atomic_sub_fetch(&orders->live, 1, __ATOMIC_RELAXED);
    }
    __libc_free(p);
}

/* The module's functions, which call the real ones. */

#define WRAP(type, name, parameters, arguments)                                                                      \
    type __wrap_##name parameters;                                                                                   \
                                                                                                                     \
    type __wrap_##name parameters                                                                                    \
    {                                                                                                                \
        return fails(MODULE) ? NULL : name arguments;                                                                \
    }

/* nginx's own functions exist only in an nginx process. */
#define WRAP_NGX(name, parameters, arguments)                                                                        \
    void *name parameters __attribute__((weak));                                                                     \
    WRAP(void *, name, parameters, arguments)

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *p, size_t size), (p, size))
WRAP(char *, strdup, (const char *s), (s))

WRAP_NGX(ngx_alloc, (size_t size, void *log), (size, log))
WRAP_NGX(ngx_calloc, (size_t size, void *log), (size, log))
WRAP_NGX(ngx_create_pool, (size_t size, void *log), (size, log))
WRAP_NGX(ngx_palloc, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_pnalloc, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_pcalloc, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_pool_cleanup_add, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_array_push, (void *array), (array))
WRAP_NGX(ngx_list_push, (void *list), (list))
WRAP_NGX(ngx_alloc_chain_link, (void *pool), (pool))
WRAP_NGX(ngx_get_connection, (int fd, void *log), (fd, log))
WRAP_NGX(ngx_slab_alloc, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_slab_alloc_locked, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_slab_calloc, (void *pool, size_t size), (pool, size))
WRAP_NGX(ngx_slab_calloc_locked, (void *pool, size_t size), (pool, size))

/* This one reports a failure in its own way. */
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);

void *
__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return fails(MODULE) ? MAP_FAILED : mmap(address, length, protection, flags, fd, offset);
}
