/* SPDX-License-Identifier: MIT */
/*
 * What stands in the LMDB store, byte by byte. Every value is a row: checksum, version, body; the
 * checksum covers the key as well, so that a row under a wrong key is found. Numbers begin with
 * their most significant byte.
 *
 *   meta     "store"              version 4 | starts 8 | seed 8 | last slot 4 | last sequence 8
 *   sess     slot 4               a session record (record.h)
 *   sub      slot 4, hash 16      a subscription record
 *   group    slot 4               the filter, with $share
 *   msg      sequence 8           flags 1 | accepted 8 | publisher's slot 4 | length 4 | a message
 *                                 record | number of receivers 4 | receivers
 *              receiver:          slot 4 | QoS, retain, identifiers 1 | [count 4 | identifiers 4 …]
 *   acklog   number 8             entries of one commit, in the order of the numbers
 *              entry:             kind 1 | state 1 | packet id 2 | slot 4 | group 4 | sequence 8
 *                                 | order 8
 *   retained number 8             length 4 | who has published it (record.h), maybe nothing | a
 *                                 message record: the row of the highest number is the topic's
 *   ret      hash of topic 16     number 8 | a message record, nothing when it is cleared: version 1
 *
 * Pure: no I/O. Any thread.
 */
#pragma once

#include "broker/store/bytes.h"
#include "broker/store/store.h"

enum {
    STORE_VERSION = 2, /* of all of it together; a newer one is refused */
    ROW_VERSION = 1,
    ROW_HEAD = 4 + 1,
    ROW_KEY_MAX = 4 + 16,
    LOG_ENTRY = 1 + 1 + 2 + 4 + 4 + 8 + 8,
};

enum table {
    TABLE_META,
    TABLE_SESSION,
    TABLE_SUBSCRIPTION,
    TABLE_GROUP,
    TABLE_MESSAGE,
    TABLE_LOG,
    TABLE_RETAINED,
    TABLE_RETAINED_1, /* of version 1; gone once a store of it was opened */
    TABLES,
};

const char *table_name(enum table table);

struct meta_row {
    uint32_t version;
    uint64_t starts; /* how often the store was opened */
    uint64_t seed; /* of the hashes in keys: secret, so that nobody finds two topics of one hash */
    uint32_t last_slot;
    uint64_t last_sequence;
};

/* A row's checksum and version, for a body that already stands behind them. */
void row_seal(struct span key, uint8_t *row, size_t len);
/* Whether the row is whole; then its body. */
bool row_open(struct span key, struct span row, struct span *ret_body);
/* The same for a row whose checksum is known to be right. */
bool row_open_again(struct span row, struct span *ret_body);

enum { META_BODY = 4 + 8 + 8 + 4 + 8 };
void meta_encode(const struct meta_row *meta, uint8_t *out); /* META_BODY bytes */
bool meta_decode(struct span body, struct meta_row *ret_meta);

/* Whether it is a filter with its share name. */
bool group_row_valid(struct span body);

/* ---- messages ---- */

struct message_row {
    bool unrouted; /* then `publisher` says whose it is and there is no receiver */
    uint64_t accepted;
    uint32_t publisher;
    struct span message;   /* its record */
    uint32_t count;        /* of receivers */
    struct span receivers; /* take_receiver() */
};

struct receiver_row {
    uint32_t slot;
    uint8_t qos;
    bool retain;
    uint32_t id_count;
    struct span ids; /* four bytes each */
};

/* The body of a message with the receivers that are not done; `publisher` alone when it is not
 * routed. */
size_t message_row_size(const struct message *message, bool unrouted);
void message_row_encode(const struct message *message, bool unrouted, uint32_t publisher,
                        uint8_t *out);
/* How much payload there is in a row of a message, without a look at the rest; 0: it is damaged. */
uint32_t row_payload(struct span row);
/* All of it is checked but the message record itself. */
bool message_row_decode(struct span body, struct message_row *ret_row);
bool take_receiver(struct span *in, struct receiver_row *ret_receiver);
/* With its identifiers; false: no memory. */
bool receiver_revive(const struct receiver_row *row, struct receiver *ret_receiver);

/* ---- the log of what happens to messages after they were written ---- */

enum log_kind {
    LOG_DONE = 1,     /* slot, sequence: this receiver needs it no more */
    LOG_OUTBOUND = 2, /* slot, packet id, state, group, sequence or 0, order */
    LOG_INBOUND = 3,  /* slot, packet id */
};

/* In an entry about an exchange, state 0 ends it. */
struct log_entry {
    enum log_kind kind;
    uint8_t state; /* LOG_OUTBOUND: enum inflight_state; LOG_INBOUND: 1 */
    uint16_t packet_id;
    uint32_t slot, group;
    uint64_t sequence, order;
};

void log_entry_encode(const struct log_entry *entry, uint8_t *out); /* LOG_ENTRY bytes */
bool take_log_entry(struct span *in, struct log_entry *ret_entry);

/* ---- retained messages ---- */

struct retained_row {
    struct span author; /* its record; empty: it is not known */
    struct span message;
    struct span topic;
    bool cleared; /* the topic has no message any more */
};

/* Without the message's record, which the caller puts where retained_row_encode() ends. */
size_t retained_row_size(struct span author, size_t message_len);
uint8_t *retained_row_encode(struct span author, uint8_t *out);
/* The records themselves are not checked. */
bool retained_row_decode(struct span body, struct retained_row *ret_row);

/* One of version 1. False: its topic was cleared, or it has no number that can be. */
bool retained_1_decode(struct span body, uint64_t *ret_number, struct span *ret_message);

/* Which row is a topic's: by 79 bits of a hash that nobody else can compute. */
#define RETAINED_NUMBER ((UINT64_C(1) << 48) - 1) /* the highest; from 1 */
#define RETAINED_MORE   UINT64_C(0x7FFF)
struct retained_place {
    uint64_t hash;
    uint64_t more : 15; /* of the hash */
    uint64_t cleared : 1;
    uint64_t number : 48; /* 0: a free place */
};

struct retained_index {
    struct retained_place *at; /* linear probing */
    size_t room, count;
};

/* The row stands in the index now, unless a newer one of its topic does. Returns the number of
 * whichever of the two is not needed, 0: there is no other. (lmdb_retained.c) */
uint64_t retained_index_add(struct retained_index *index, uint64_t seed,
                            const struct retained_row *row, uint64_t number);
/* Whether the row of this number is the topic's. */
bool retained_index_has(const struct retained_index *index, uint64_t seed, struct span topic,
                        uint64_t number);
void retained_index_done(struct retained_index *index);

/* ---- keys ---- */

uint64_t key_number(struct span key, size_t len); /* of a key that is known to be so long */
void key_hash(uint64_t seed, struct span text, uint8_t *out); /* 16 bytes */
