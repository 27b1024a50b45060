/* SPDX-License-Identifier: MIT */
/*
 * WebSocket frames as the load generator writes and reads them, over a socket pair: whole, in
 * pieces of one byte, several at once, with control frames between them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/bench_wire.h"

struct pair {
    struct bench_wire wire;
    int far;
};

static struct pair pair_new(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    return (struct pair){ .wire = { .fd = fds[0], .websocket = true }, .far = fds[1] };
}

static void pair_done(struct pair *pair)
{
    bench_wire_close(&pair->wire);
    close(pair->far);
}

/* Sends `len` bytes in pieces of `step`, reads after each; what was read, one after the other. */
static size_t pass(struct pair *pair, const void *bytes, size_t len, size_t step, uint8_t *out,
                   size_t room)
{
    size_t sum = 0;
    for (size_t at = 0; at < len; at += step) {
        size_t part = len - at < step ? len - at : step;
        assert_int_equal(write(pair->far, (const uint8_t *)bytes + at, part), part);
        ssize_t got = bench_wire_recv(&pair->wire, out + sum, room - sum);
        if (got < 0)
            assert_int_equal(errno, EAGAIN);
        else
            sum += (size_t)got;
    }
    return sum;
}

static const uint8_t mixed[] = {
    0x82, 3,   'a', 'b', 'c',      /* binary */
    0x89, 2,   'p', 'p',           /* ping */
    0x02, 126, 0,   2,   'd', 'e', /* the first of two fragments, with a longer length */
    0x80, 127, 0,   0,   0,   0,   0, 0, 0, 1, 'f', /* the last, with the longest */
    0x82, 0,                                        /* empty */
    0x82, 1,   'g',
};

static void test_frames_leave_their_payload_whatever_the_pieces(void **state)
{
    (void)state;
    for (size_t step = 1; step <= sizeof mixed; step++) {
        struct pair pair = pair_new();
        uint8_t out[64];
        size_t len = pass(&pair, mixed, sizeof mixed, step, out, sizeof out);
        assert_int_equal(len, 7);
        assert_memory_equal(out, "abcdefg", 7);
        pair_done(&pair);
    }
}

static void test_close_frame_is_the_end(void **state)
{
    static const uint8_t farewell[] = { 0x82, 1, 'a', 0x88, 2, 3, 0xE8 };
    struct pair pair = pair_new();
    uint8_t out[16];
    (void)state;
    assert_int_equal(write(pair.far, farewell, sizeof farewell), sizeof farewell);
    assert_int_equal(bench_wire_recv(&pair.wire, out, sizeof out), 1);
    assert_int_equal(write(pair.far, farewell + 3, 4), 4);
    assert_int_equal(bench_wire_recv(&pair.wire, out, sizeof out), 0);
    pair_done(&pair);
}

static void test_closed_socket_is_the_end(void **state)
{
    struct pair pair = pair_new();
    uint8_t out[16];
    (void)state;
    close(pair.far);
    assert_int_equal(bench_wire_recv(&pair.wire, out, sizeof out), 0);
    bench_wire_close(&pair.wire);
}

static void test_head_has_the_shortest_length_and_a_mask(void **state)
{
    static const struct {
        uint64_t len;
        size_t size;
        uint8_t bytes[14];
    } cases[] = {
        { 0, 6, { 0x82, 0x80 } },
        { 125, 6, { 0x82, 0x80 | 125 } },
        { 126, 8, { 0x82, 0x80 | 126, 0, 126 } },
        { 65535, 8, { 0x82, 0x80 | 126, 0xFF, 0xFF } },
        { 65536, 14, { 0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0 } },
    };
    uint8_t out[BENCH_WIRE_HEAD];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(bench_wire_head(true, out, cases[i].len), cases[i].size);
        assert_memory_equal(out, cases[i].bytes, cases[i].size);
        assert_int_equal(bench_wire_head(false, out, cases[i].len), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_leave_their_payload_whatever_the_pieces),
        cmocka_unit_test(test_close_frame_is_the_end),
        cmocka_unit_test(test_closed_socket_is_the_end),
        cmocka_unit_test(test_head_has_the_shortest_length_and_a_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
