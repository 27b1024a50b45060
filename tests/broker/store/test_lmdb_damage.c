/* SPDX-License-Identifier: MIT */
/* Damaged stores: whatever is done to the file, the broker starts, what can be read is kept, and
 * the damaged file stands beside the new one. Each case begins with the same messages. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/store/lmdb_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MESSAGES = 250, PAGE = 4096 };

static int setup(void **state)
{
    struct lmdb_fixture *f = calloc(1, sizeof *f);
    static char payload[201];
    if (!f)
        return -1;
    lmdb_fixture_init(f);
    f->options.date = "20261125-074149";
    lmdb_open(f);
    lmdb_add_session(f, 0, 1, "s");
    lmdb_add_subscription(f, 0, 1, "a/#");
    memset(payload, 'x', sizeof payload - 1);
    for (int i = 0; i < MESSAGES; i++) {
        struct message *m = lmdb_message(f, "a/b", payload, TO(1));
        lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
        message_unref(m);
    }
    lmdb_add_retained(f, 0, "kept", "1", 1);
    lmdb_commit(f, 0);
    lmdb_close(f);
    *state = f;
    return 0;
}

static int open_file(const struct lmdb_fixture *f, off_t *ret_size)
{
    char path[128];
    struct stat at;
    snprintf(path, sizeof path, "%s/data.mdb", f->path);
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    assert_int_equal(fstat(file, &at), 0);
    *ret_size = at.st_size;
    return file;
}

static int damaged_files(const struct lmdb_fixture *f)
{
    int count = 0;
    struct dirent *entry;
    DIR *folder = opendir(f->path);
    assert_non_null(folder);
    while ((entry = readdir(folder)))
        count += strncmp(entry->d_name, "data.mdb.damaged-20261125-074149", 32) == 0;
    closedir(folder);
    return count;
}

static int messages_loaded(const struct lmdb_fixture *f)
{
    int count = 0;
    for (const char *at = f->loaded; (at = strstr(at, "message ")); at++)
        count++;
    return count;
}

/* It starts, can be written, and is whole from then on. */
static void expect_usable(struct lmdb_fixture *f)
{
    lmdb_add_session(f, 0, 1000, "new");
    lmdb_commit(f, 0);
    lmdb_close(f);
    int before = damaged_files(f);
    lmdb_open(f);
    assert_int_equal(damaged_files(f), before);
    assert_non_null(strstr(f->loaded, "session 1000 new\n"));
}

static void test_damage_none_is_none(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_open(f);
    assert_int_equal(damaged_files(f), 0);
    assert_int_equal(messages_loaded(f), MESSAGES);
    expect_usable(f);
}

static void test_damage_meta_pages_zeroed(void **state)
{
    struct lmdb_fixture *f = *state;
    static const uint8_t zeros[2 * PAGE];
    off_t size;
    int file = open_file(f, &size);
    assert_int_equal(pwrite(file, zeros, sizeof zeros, 0), sizeof zeros);
    close(file);
    lmdb_open(f);
    assert_int_equal(damaged_files(f), 1);
    assert_string_equal(f->loaded, "");
    expect_usable(f);
}

static void test_damage_truncated(void **state)
{
    struct lmdb_fixture *f = *state;
    off_t size;
    int file = open_file(f, &size);
    assert_int_equal(ftruncate(file, size / 2), 0);
    close(file);
    lmdb_open(f);
    assert_int_equal(damaged_files(f), 1);
    assert_true(messages_loaded(f) < MESSAGES);
    expect_usable(f);
}

/* Every page in turn: the process survives, and never takes a wrong message for a right one. */
static void test_damage_page_overwritten(void **state)
{
    struct lmdb_fixture *f = *state;
    static uint8_t garbage[PAGE], kept[PAGE];
    off_t size;
    int most = 0, file = open_file(f, &size);
    close(file);
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)(i * 31 + 7);
    for (off_t at = 2 * PAGE; at < size; at += 3 * PAGE) {
        file = open_file(f, &size);
        assert_int_equal(pread(file, kept, sizeof kept, at), sizeof kept);
        assert_int_equal(pwrite(file, garbage, sizeof garbage, at), sizeof garbage);
        close(file);
        lmdb_open(f);
        int messages = messages_loaded(f);
        assert_true(messages <= MESSAGES);
        most = messages > most && messages < MESSAGES ? messages : most;
        expect_usable(f);
        lmdb_close(f);
        lmdb_teardown((void **)&f);
        assert_int_equal(setup((void **)&f), 0);
        *state = f;
    }
    assert_true(most > MESSAGES / 2); /* both sides of a page in the middle are kept */
}

/* A flipped bit in a payload is found by its checksum alone; the others are kept. */
static void test_damage_flipped_bit(void **state)
{
    struct lmdb_fixture *f = *state;
    static uint8_t bytes[1 << 20];
    off_t size;
    int file = open_file(f, &size);
    ssize_t len = pread(file, bytes, sizeof bytes, 0);
    assert_int_equal(len, size);
    uint8_t *payload = memmem(bytes, (size_t)len, "xxxxxxxxxxxxxxxxxxxx", 20);
    assert_non_null(payload);
    payload[10] ^= 4;
    assert_int_equal(pwrite(file, payload + 10, 1, payload + 10 - bytes), 1);
    close(file);
    lmdb_open(f);
    assert_int_equal(damaged_files(f), 1);
    assert_int_equal(messages_loaded(f), MESSAGES - 1);
    assert_non_null(strstr(f->loaded, "sub 1 a/#"));
    assert_non_null(strstr(f->loaded, "retained kept=1"));
    expect_usable(f);
}

static int dies(void *ctx)
{
    volatile int *nowhere = ctx;
    return *nowhere;
}

static int says(void *ctx)
{
    return *(int *)ctx;
}

static void test_child_that_dies_is_damage(void **state)
{
    int died;
    (void)state;
    assert_int_equal(walk_in_child(says, &(int){ 0 }, &died), 0);
    assert_int_equal(walk_in_child(says, &(int){ -ENOTSUP }, &died), -ENOTSUP);
    int rc = walk_in_child(dies, NULL, &died);
    assert_true(rc != 0); /* a sanitizer turns the signal into an exit code */
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, setup, lmdb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_damage_none_is_none), WITH_STORE(test_damage_meta_pages_zeroed),
        WITH_STORE(test_damage_truncated),    WITH_STORE(test_damage_page_overwritten),
        WITH_STORE(test_damage_flipped_bit),  cmocka_unit_test(test_child_that_dies_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
