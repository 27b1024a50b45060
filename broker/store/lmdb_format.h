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
 *   ret      hash of topic 16     number 8 | a message record, nothing when it is cleared
 *
 * Pure: no I/O. Any thread.
 */
#pragma once

#include "broker/store/bytes.h"
#include "broker/store/store.h"

enum {
    STORE_VERSION = 1, /* of all of it together; a newer one is refused */
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

/* ---- keys ---- */

uint64_t key_number(struct span key, size_t len); /* of a key that is known to be so long */
void key_hash(uint64_t seed, struct span text, uint8_t *out); /* 16 bytes */
