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
 *     "+1500"        so many milliseconds pass
 *
 * Bytes are hexadecimal, spaces are free, 'text' stands for its bytes. Peers are the letters a to
 * z. {311} and {5} stand for CONNECT with the peer's letter as client identifier, clean, and
 * {ok311}, {ok5} for the CONNACK to it.
 */
#pragma once

#include <stddef.h>

/* Runs the conversation against a broker of one worker, whose configuration has these lines (NULL:
 * none) beside a listener for anybody. Ends the test, with both sides in hexadecimal, at a line
 * that does not hold. */
void converse(const char *options, const char *const *lines);

#define CONVERSE(options, ...) converse(options, (const char *const[]){ __VA_ARGS__, NULL })
