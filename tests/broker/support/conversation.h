/* SPDX-License-Identifier: MIT */
/*
 * Tests as conversations: bytes in, bytes out, line by line, over fake links and a hand-turned
 * clock.
 *
 *     "a> c0 00"     a connects if it is not connected, and sends these bytes
 *     "a< d0 00"     the broker has sent a exactly these bytes since the last line about them
 *     "a<"           it has sent nothing
 *     "a^ 20 33"     what it has sent begins with these bytes
 *     "a."           it has closed a's connection, after the bytes that stand before
 *     "a!"           a's network goes
 *     "a|" "a-"      the broker has left a unread for now; it reads a
 *     "a[" "a]"      a's socket takes nothing any more; it takes everything again
 *     "+1500"        so many milliseconds pass
 *
 * With several workers, and with a store:
 *
 *     "a@1"          a connects on worker 1 from now on
 *     "=hold"        workers are turned only by the lines that follow, no longer after every line
 *     "=0" "=0110"   one turn of worker 0; of these, one after the other
 *     "=run"         all are turned until they are quiet, and again after every line
 *     "=stop"        the broker is told to stop
 *     "=login"       one password that waits is checked
 *     "=reload"      what the setting says of a reload becomes the configuration
 *     "*0" "*0 2"    what worker 0 has given to the store is durable; up to its second batch since
 *                    the last "*hold"
 *     "*0! 2"        has failed, up to its second batch
 *     "*go" "*hold"  the store finishes at once, also what comes; it waits for such lines again
 *     "*behind" "*caught up"   the store is too far behind for more; it has caught up
 *     "*never"       the store never finishes what it holds, not even when all has ended
 *     "*unread"      what is to be read back is not, but by such lines:
 *     "*0?"          the next request of worker 0 is answered
 *     "*damaged 2"   the next two messages that are read back are damaged
 *     "=crash"       the broker is gone, with all connections, and starts again with what is durable
 *     "=crash+"      the same, but all that was given to the store had become durable
 *     "=crash 5000"  the same, and so many milliseconds later ("=crash+ 5000" as well)
 *
 * Bytes are hexadecimal, spaces are free, 'text' stands for its bytes. Peers are the letters a to
 * z. {311} and {5} stand for CONNECT with the peer's letter as client identifier, clean, and
 * {ok311}, {ok5} for the CONNACK to it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs the conversation against a broker of one worker, whose configuration has these lines (NULL:
 * none) beside a listener for anybody. Ends the test, with both sides in hexadecimal, at a line
 * that does not hold. */
void converse(const char *options, const char *const *lines);

struct setting {
    const char *options; /* as for converse() */
    unsigned workers;
    bool store;          /* a fault store, which holds what it is given; else the memory store */
    bool late;           /* and nothing waits for it (`durability interval`) */
    unsigned window;     /* deliveries in memory of a session that is behind; 0: as in life */
    const char *users;   /* the password file of the listener; NULL: none */
    uint64_t wall_ahead; /* milliseconds by which the machine's clock differs from the workers' */
    const char *secret;  /* of tokens; NULL: none are taken */
    const char *reloaded_secret;
    const char *identity; /* what the certificate of everybody says; NULL: none */
    const char *reloaded; /* its options after "=reload" */
    const char *reloaded_users;
};

void converse_with(const struct setting *setting, const char *const *lines);

#define CONVERSE_WITH(setting, ...)                                                                \
    converse_with(setting, (const char *const[]){ __VA_ARGS__, NULL })
#define CONVERSE(options, ...) converse(options, (const char *const[]){ __VA_ARGS__, NULL })
