/* SPDX-License-Identifier: MIT */
/*
 * The session table: client identifier → session. One lock (rank 1), held for a look-up and no
 * more.
 */
#pragma once

#include "mqtt/span.h"

struct session;
struct session_table;
struct worker;

struct session_table *session_table_new(uint64_t seed); /* aborts without memory */
void session_table_free(struct session_table *table);

/* The session of this client, whoever owns it; or a new one, owned by `worker`, put into the
 * table. *ret_created tells which. NULL: no memory. */
struct session *session_table_claim(struct session_table *table, struct worker *worker,
                                    struct span client_id, bool *ret_created);
bool session_table_has(struct session_table *table, struct span client_id);
void session_table_remove(struct session_table *table, struct session *session);
size_t session_table_count(struct session_table *table);
