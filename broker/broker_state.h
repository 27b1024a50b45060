/* SPDX-License-Identifier: MIT */
/*
 * What all workers share, for the files of broker/ alone.
 */
#pragma once

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/group.h"
#include "broker/memory.h"
#include "broker/retained.h"
#include "broker/router.h"
#include "broker/session_table.h"
#include "broker/worker_state.h"

struct broker {
    struct broker_env env;          /* (i) */
    uint64_t seed;                  /* (i) of every hash table */
    struct worker **workers;        /* (i) */
    unsigned worker_count;          /* (i) */
    struct config *config;          /* whoever reloads: the one that holds, one reference */
    uint32_t rules;                 /* the same: number of its rules, see auth/access.h */
    struct store *store;            /* (i) */
    bool owns_store;                /* (i) */
    atomic_uint stopped;            /* (a) workers that have sent their wills */
    struct session_table *table;    /* its own lock */
    struct tree *tree;              /* readers: worker.reading; writers: all of them */
    _Atomic uint64_t generation;    /* (a) of the tree, readable without a lock */
    struct retained *retained;      /* its own locks */
    struct groups *groups;          /* its own lock */
    _Atomic uint64_t *certificates; /* (a) by listener: when its certificate ends; 0: it has none */
    struct memory memory;           /* how close the process is to memory_limit */
    struct pool *pool;              /* its own lock: who finds out whether passwords are right */
};

/* Without threads: lets mail arrive until none is on its way. */
void broker_settle(struct broker *broker);
