/* SPDX-License-Identifier: MIT */
/*
 * How many receivers of a message on disk are not done, for messages of several: what the writer
 * must know when nobody has the message in memory. 16 bytes for each, in pages sorted by sequence,
 * as messages come nearly in that order:
 *
 *     pages ── 1 … 256 │ 257 … 512 │ 513 …      found by bisection, twice
 *
 * A message of one receiver needs no tally: it goes with its receiver. The writer thread alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tally {
    uint64_t sequence;
    uint32_t left;   /* receivers that are not done */
    uint32_t logged; /* receivers that are done on disk beside the message */
};

struct tally_page;

struct tallies {
    struct tally_page **pages; /* none is empty */
    size_t page_count, page_room;
    size_t count;
};

/* NULL: there is none. Valid until the next addition or removal. */
struct tally *tallies_find(const struct tallies *tallies, uint64_t sequence);
/* Replaces the one of the same sequence. Aborts without memory. */
void tallies_add(struct tallies *tallies, const struct tally *tally);
void tallies_remove(struct tallies *tallies, uint64_t sequence);
void tallies_done(struct tallies *tallies);
