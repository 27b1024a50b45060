/* SPDX-License-Identifier: MIT */
/*
 * Retained messages: one per topic, in shards, each an ordered map under a lock of its own (rank
 * 2). Setting one and posting it to its receivers happens under the shard's lock; a subscriber
 * fetches slices under that lock, into its own mailbox's order. So a newer value is never followed
 * by an older one.
 */
#pragma once

#include "broker/list.h"
#include "broker/message.h"
#include "broker/topic_map.h"

#include <pthread.h>

struct retained;
struct session;
struct worker;

struct retained *retained_new(uint64_t seed); /* aborts without memory */
void retained_free(struct retained *retained);

/* A topic as it is looked up here: hashed once. */
struct topic_key retained_key(const struct retained *retained, struct span topic);
/* Lock the shard of a topic / unlock it. Between them: retained_set() and the routing of the
 * same message. Returns the shard. */
struct retained_shard *retained_lock(struct retained *retained, struct topic_key key);
void retained_unlock(struct retained_shard *shard);
/* Sets (or, with an empty payload, clears) the message of its topic, which is `key`. Returns the
 * number of the change in the feed of all changes; 0 without memory. */
uint64_t retained_set(struct retained *retained, struct retained_shard *shard, struct topic_key key,
                      struct message *message);

/* A retained message that this worker has set expires then: the worker removes it, and whatever else
 * has expired by then. At the start worker 0 looks for what was there before. Owner only. */
void retained_expire_at(struct worker *worker, uint64_t when);
void retained_look_for_expired(struct worker *worker);

/* Whether the topic has one. Any thread. */
bool retained_has(struct retained *retained, struct span topic);
/* The number of messages that are stored, and their bytes. Any thread. */
/* While the broker starts: what the store has kept, with the number of its change. A reference is
 * taken. False: no memory. */
MUST_USE bool retained_restore(struct retained *retained, struct message *message, uint64_t number);
uint64_t retained_count(const struct retained *retained);
uint64_t retained_bytes(const struct retained *retained);

/* Fetches the retained messages that match a filter for a session, in slices, at the end of this
 * and later turns, as fast as its queue takes them. `sub_id` of the subscription, `options` of its
 * entry in the tree. Owner of the session only. */
void retained_fetch(struct worker *worker, struct session *session, struct span filter,
                    uint8_t options, uint32_t sub_id);
/* What was decided about the filters of the session's fetches holds no longer. */
void retained_ask(struct session *session);
/* Forgets the fetches of a session (of one filter, or all when filter.data is NULL). */
void retained_cancel(struct session *session, struct span filter);
/* The session moves: its fetches stop here, and go on at its next owner. */
void retained_leave(struct session *session);
void retained_arrive(struct worker *worker, struct session *session);
/* One slice of each fetch under way, and of what has expired. Called by worker_finish(); returns whether there is more to
 * do at once. */
bool retained_work(struct worker *worker, uint64_t now);
