/* SPDX-License-Identifier: MIT */
/*
 * The store that writes: one LMDB file in a folder of its own, one writer thread, one commit for
 * whatever all workers have handed over meanwhile. What is acknowledged after a commit survives
 * kill -9 and a power cut.
 *
 * It reads no clock by itself and picks no random number; whoever opens it brings both along.
 */
#pragma once

#include "broker/err.h"
#include "broker/store/store.h"

struct lmdb_store_options {
    const char *path; /* of the folder; made when it is missing */
    unsigned workers;
    uint64_t (*clock)(void); /* milliseconds, never going back; any thread */
    void (*random)(void *bytes, size_t len);
    unsigned interval;     /* milliseconds: acknowledge at once, commit that often; 0: sync */
    unsigned commit_delay; /* milliseconds that the writer collects before it commits */
    unsigned full_timeout; /* milliseconds after which what cannot be written has failed */
    unsigned retry;        /* milliseconds between attempts to write, 0: a default */
    uint64_t min_free;     /* bytes that must be left on the disk */
    const char *date;      /* "20261125-074149": in the name of what is set aside */
    size_t map_size;       /* bytes to begin with, 0: a default; it grows */
    uint64_t young, few;   /* see struct reaper; 0: defaults */
};

/*
 * Opens the folder, makes it if it is missing. All of it is read by a child process first: a damaged
 * store is set aside and what can be read of it kept; the log says so. Before any other thread is started. 0 or:
 * -EBUSY another broker has it; -ENOTSUP it was written by a newer version, and is untouched;
 * another negative errno: it cannot be used. The log says why.
 */
MUST_USE int lmdb_store_open(const struct lmdb_store_options *options, struct store **ret_store);

/* Starts the writer; after load(). `wake` is called, on the writer's thread, when a worker has
 * something to collect(). Aborts when no thread can be made. */
void lmdb_store_start(struct store *store, void (*wake)(void *ctx, unsigned worker), void *ctx);
