/* SPDX-License-Identifier: MIT */
/* The memory of messages: blocks are apart from each other, are used again, and go home. */
#include "broker/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>

enum { MANY = 3000, SIZE = 96 };

/* With SLAB_PLAIN every block is malloc's, which promises nothing of what is used again. */
static void needs_slabs(void)
{
#ifdef SLAB_PLAIN
    print_message("skipped: slabs are not used in a build with a sanitizer\n");
    skip();
#endif
}

static void test_slab_blocks_of_all_sizes_do_not_overlap(void **state)
{
    enum { SIZES = SLAB_MAX + 200 };
    static uint8_t *blocks[SIZES];
    (void)state;
    for (size_t size = 0; size < SIZES; size++) {
        blocks[size] = slab_alloc(size);
        assert_non_null(blocks[size]);
        assert_int_equal((uintptr_t)blocks[size] % 16, 0);
        memset(blocks[size], (int)size & 0xFF, size);
    }
    for (size_t size = 0; size < SIZES; size++) {
        for (size_t i = 0; i < size; i++)
            assert_int_equal(blocks[size][i], size & 0xFF);
        slab_free(blocks[size], size);
    }
    slab_free(NULL, 0);
}

static void test_slab_uses_what_was_freed_last(void **state)
{
    (void)state;
    needs_slabs();
    void *block = slab_alloc(SIZE);
    slab_free(block, SIZE);
    assert_ptr_equal(slab_alloc(SIZE - 1), block); /* the same class */
    slab_free(block, SIZE - 1);
}

static int by_address(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t) * (void *const *)left, b = (uintptr_t) * (void *const *)right;
    return (a > b) - (a < b);
}

static void *free_all(void *blocks)
{
    for (unsigned i = 0; i < MANY; i++)
        slab_free(((void **)blocks)[i], SIZE);
    slab_flush();
    return NULL;
}

static unsigned count_different(void **pointers, unsigned count)
{
    unsigned different = 1;
    qsort(pointers, count, sizeof *pointers, by_address);
    for (unsigned i = 1; i < count; i++)
        different += pointers[i] != pointers[i - 1];
    return different;
}

/* Were it kept where it is freed, each round would need as many new blocks. */
static void test_slab_memory_freed_by_another_thread_goes_home(void **state)
{
    enum { ROUNDS = 30 };
    static void *blocks[MANY], *seen[ROUNDS * MANY];
    (void)state;
    needs_slabs();
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        for (unsigned i = 0; i < MANY; i++)
            assert_non_null(seen[round * MANY + i] = blocks[i] = slab_alloc(SIZE));
        assert_int_equal(pthread_create(&thread, NULL, free_all, blocks), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        slab_flush();
    }
    assert_in_range(count_different(seen, ROUNDS * MANY), MANY, ROUNDS * MANY / 2);
}

static void *alloc_all(void *blocks)
{
    for (unsigned i = 0; i < MANY; i++)
        ((void **)blocks)[i] = slab_alloc(SIZE);
    return NULL;
}

/* Blocks of two homes in turn, the second of which is a thread that has ended. */
static void test_slab_memory_of_several_threads_goes_home(void **state)
{
    static void *theirs[MANY], *ours[MANY];
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, alloc_all, theirs), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    alloc_all(ours);
    for (unsigned i = 0; i < MANY; i++) {
        slab_free(theirs[i], SIZE);
        slab_free(ours[i], SIZE);
    }
    slab_flush();
}

struct exchange { /* blocks on their way from a thread that makes them to one that frees them */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *block; /* (L) NULL: none */
};

static void *consume(void *ctx)
{
    struct exchange *exchange = ctx;
    for (unsigned i = 0; i < MANY; i++) {
        pthread_mutex_lock(&exchange->lock);
        while (!exchange->block)
            pthread_cond_wait(&exchange->changed, &exchange->lock);
        void *block = exchange->block;
        exchange->block = NULL;
        pthread_cond_signal(&exchange->changed);
        pthread_mutex_unlock(&exchange->lock);
        slab_free(block, SIZE);
    }
    return NULL;
}

/* One block at a time crosses, so few are ever on their way: what comes home is used again. */
static void test_slab_does_not_grow_when_one_thread_makes_and_another_frees(void **state)
{
    static void *seen[MANY];
    struct exchange exchange = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL };
    pthread_t thread;
    (void)state;
    needs_slabs();
    assert_int_equal(pthread_create(&thread, NULL, consume, &exchange), 0);
    for (unsigned i = 0; i < MANY; i++) {
        seen[i] = slab_alloc(SIZE);
        pthread_mutex_lock(&exchange.lock);
        while (exchange.block)
            pthread_cond_wait(&exchange.changed, &exchange.lock);
        exchange.block = seen[i];
        pthread_cond_signal(&exchange.changed);
        pthread_mutex_unlock(&exchange.lock);
        slab_flush();
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_in_range(count_different(seen, MANY), 1, MANY / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slab_blocks_of_all_sizes_do_not_overlap),
        cmocka_unit_test(test_slab_uses_what_was_freed_last),
        cmocka_unit_test(test_slab_memory_freed_by_another_thread_goes_home),
        cmocka_unit_test(test_slab_memory_of_several_threads_goes_home),
        cmocka_unit_test(test_slab_does_not_grow_when_one_thread_makes_and_another_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
