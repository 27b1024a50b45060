/* SPDX-License-Identifier: MIT */
/*
 * See lmdb_format.h. Encoders write into memory that the caller has measured, decoders treat what
 * they read as a stranger's. Owns nothing; any thread.
 */
#include "broker/store/lmdb_format.h"

#include "broker/delivery.h"
#include "broker/inflight.h"
#include "broker/store/crc32c.h"
#include "mqtt/topic.h"

#include <xxhash.h>

enum { RECEIVER_QOS = 3, RECEIVER_RETAIN = 4, RECEIVER_IDS = 8, RECEIVER_FLAGS = 15 };
enum { MESSAGE_UNROUTED = 1, MESSAGE_FIXED = 1 + 8 + 4 + 4, RECEIVER_FIXED = 4 + 1 };

const char *table_name(enum table table)
{
    static const char *const names[TABLES] = {
        [TABLE_META] = "meta",         [TABLE_SESSION] = "sess",  [TABLE_SUBSCRIPTION] = "sub",
        [TABLE_GROUP] = "group",       [TABLE_MESSAGE] = "msg",   [TABLE_LOG] = "acklog",
        [TABLE_RETAINED] = "retained", [TABLE_RETAINED_1] = "ret"
    };
    return names[table];
}

static uint32_t checksum(struct span key, const uint8_t *row, size_t len)
{
    return crc32c(crc32c(0, key), span_of(row + 4, len - 4));
}

void row_seal(struct span key, uint8_t *row, size_t len)
{
    put_u8(row + 4, ROW_VERSION);
    put_u32(row, checksum(key, row, len));
}

bool row_open(struct span key, struct span row, struct span *ret_body)
{
    uint32_t sum;
    uint8_t version;
    struct span in = row;
    if (!take_u32(&in, &sum) || !take_u8(&in, &version) ||
        sum != checksum(key, row.data, row.len) || version != ROW_VERSION)
        return false;
    *ret_body = in;
    return true;
}

bool row_open_again(struct span row, struct span *ret_body)
{
    if (row.len < ROW_HEAD || row.data[ROW_HEAD - 1] != ROW_VERSION)
        return false;
    *ret_body = span_of(row.data + ROW_HEAD, row.len - ROW_HEAD);
    return true;
}

void meta_encode(const struct meta_row *meta, uint8_t *out)
{
    out = put_u32(out, meta->version);
    out = put_u64(out, meta->starts);
    out = put_u64(out, meta->seed);
    out = put_u32(out, meta->last_slot);
    put_u64(out, meta->last_sequence);
}

/* A newer version may have more behind it. */
bool meta_decode(struct span body, struct meta_row *ret_meta)
{
    return take_u32(&body, &ret_meta->version) && take_u64(&body, &ret_meta->starts) &&
           take_u64(&body, &ret_meta->seed) && take_u32(&body, &ret_meta->last_slot) &&
           take_u64(&body, &ret_meta->last_sequence) &&
           (body.len == 0 || ret_meta->version > STORE_VERSION);
}

bool group_row_valid(struct span body)
{
    struct span name, filter;
    return mqtt_utf8_valid(body) && mqtt_topic_filter_valid(body) &&
           mqtt_share_split(body, &name, &filter);
}

/* ---- messages ---- */

static uint32_t id_count(const struct receiver *receiver)
{
    if (receiver->ids)
        return receiver->ids->count;
    return receiver->sub_id ? 1 : 0;
}

static size_t receiver_size(const struct receiver *receiver)
{
    uint32_t ids = id_count(receiver);
    return RECEIVER_FIXED + (ids ? 4 + 4 * (size_t)ids : 0);
}

static uint8_t *put_receiver(uint8_t *at, const struct receiver *receiver)
{
    uint32_t ids = id_count(receiver);
    at = put_u32(at, receiver->slot);
    at = put_u8(at, (uint8_t)(receiver->qos | (receiver->retain ? RECEIVER_RETAIN : 0) |
                              (ids ? RECEIVER_IDS : 0)));
    if (!ids)
        return at;
    at = put_u32(at, ids);
    if (!receiver->ids)
        return put_u32(at, receiver->sub_id);
    for (uint32_t i = 0; i < ids; i++)
        at = put_u32(at, receiver->ids->ids[i]);
    return at;
}

size_t message_row_size(const struct message *message, bool unrouted)
{
    const struct stored *stored = message->stored;
    size_t len = MESSAGE_FIXED + message_record_size(message) + 4;
    if (unrouted)
        return len;
    for (uint32_t i = 0; i < stored->count; i++)
        if (!stored->receivers[i].done)
            len += receiver_size(&stored->receivers[i]);
    return len;
}

void message_row_encode(const struct message *message, bool unrouted, uint32_t publisher,
                        uint8_t *out)
{
    const struct stored *stored = message->stored;
    size_t record = message_record_size(message);
    out = put_u8(out, unrouted ? MESSAGE_UNROUTED : 0);
    out = put_u64(out, stored->accepted);
    out = put_u32(out, unrouted ? publisher : 0);
    out = put_u32(out, (uint32_t)record);
    message_record_encode(message, out);
    out = put_u32(out + record, unrouted ? 0 : stored->left);
    if (unrouted)
        return;
    for (uint32_t i = 0; i < stored->count; i++)
        if (!stored->receivers[i].done)
            out = put_receiver(out, &stored->receivers[i]);
}

uint32_t row_payload(struct span row)
{
    const size_t head = ROW_HEAD + MESSAGE_FIXED;
    return row.len > head ? message_record_payload(span_of(row.data + head, row.len - head)) : 0;
}

bool take_receiver(struct span *in, struct receiver_row *ret_receiver)
{
    uint8_t flags;
    struct receiver_row receiver = { .id_count = 0 };
    if (!take_u32(in, &receiver.slot) || !take_u8(in, &flags) || (flags & ~RECEIVER_FLAGS) ||
        receiver.slot == 0)
        return false;
    receiver.qos = flags & RECEIVER_QOS;
    receiver.retain = (flags & RECEIVER_RETAIN) != 0;
    if (receiver.qos > 2)
        return false;
    if (flags & RECEIVER_IDS && (!take_u32(in, &receiver.id_count) || receiver.id_count == 0 ||
                                 receiver.id_count > in->len / 4 ||
                                 !take_span(in, 4 * (size_t)receiver.id_count, &receiver.ids)))
        return false;
    *ret_receiver = receiver;
    return true;
}

static struct sub_ids *revive_ids(const struct receiver_row *row)
{
    struct span in = row->ids;
    struct sub_ids *ids = malloc(sizeof *ids + row->id_count * sizeof ids->ids[0]);
    if (!ids)
        return NULL;
    atomic_init(&ids->refs, 1);
    ids->count = row->id_count;
    for (uint32_t i = 0; i < row->id_count; i++)
        (void)take_u32(&in, &ids->ids[i]);
    return ids;
}

bool receiver_revive(const struct receiver_row *row, struct receiver *ret_receiver)
{
    struct receiver receiver = { .slot = row->slot, .qos = row->qos, .retain = row->retain };
    struct span first = row->ids;
    if (row->id_count)
        (void)take_u32(&first, &receiver.sub_id);
    if (row->id_count > 1 && !(receiver.ids = revive_ids(row)))
        return false;
    *ret_receiver = receiver;
    return true;
}

bool message_row_decode(struct span body, struct message_row *ret_row)
{
    uint8_t flags;
    uint32_t len;
    struct message_row row;
    if (!take_u8(&body, &flags) || (flags & ~MESSAGE_UNROUTED) || !take_u64(&body, &row.accepted) ||
        !take_u32(&body, &row.publisher) || !take_u32(&body, &len) ||
        !take_span(&body, len, &row.message) || !take_u32(&body, &row.count))
        return false;
    row.unrouted = flags & MESSAGE_UNROUTED;
    row.receivers = body;
    struct receiver_row receiver;
    for (uint32_t i = 0; i < row.count; i++)
        if (!take_receiver(&body, &receiver))
            return false;
    if (body.len != 0 || (row.unrouted ? row.count != 0 : row.count == 0))
        return false;
    *ret_row = row;
    return true;
}

/* ---- the log ---- */

void log_entry_encode(const struct log_entry *entry, uint8_t *out)
{
    out = put_u8(out, (uint8_t)entry->kind);
    out = put_u8(out, entry->state);
    out = put_u16(out, entry->packet_id);
    out = put_u32(out, entry->slot);
    out = put_u32(out, entry->group);
    out = put_u64(out, entry->sequence);
    put_u64(out, entry->order);
}

bool take_log_entry(struct span *in, struct log_entry *ret_entry)
{
    uint8_t kind;
    struct log_entry entry;
    if (!take_u8(in, &kind) || !take_u8(in, &entry.state) || !take_u16(in, &entry.packet_id) ||
        !take_u32(in, &entry.slot) || !take_u32(in, &entry.group) ||
        !take_u64(in, &entry.sequence) || !take_u64(in, &entry.order))
        return false;
    entry.kind = (enum log_kind)kind;
    uint8_t state_max = kind == LOG_OUTBOUND ? AWAIT_PUBCOMP : kind == LOG_INBOUND ? 1 : 0;
    if (kind < LOG_DONE || kind > LOG_INBOUND || entry.state > state_max || entry.slot == 0 ||
        (kind == LOG_DONE ? entry.sequence == 0 : entry.packet_id == 0))
        return false;
    *ret_entry = entry;
    return true;
}

/* ---- retained messages ---- */

size_t retained_row_size(struct span author, size_t message_len)
{
    return 4 + author.len + message_len;
}

uint8_t *retained_row_encode(struct span author, uint8_t *out)
{
    return put_span(put_u32(out, (uint32_t)author.len), author);
}

bool retained_row_decode(struct span body, struct retained_row *ret_row)
{
    uint32_t len;
    struct retained_row row;
    if (!take_u32(&body, &len) || !take_span(&body, len, &row.author) ||
        !message_record_topic(body, &row.topic, &row.cleared))
        return false;
    row.message = body;
    *ret_row = row;
    return true;
}

bool retained_1_decode(struct span body, uint64_t *ret_number, struct span *ret_message)
{
    uint64_t number;
    if (!take_u64(&body, &number) || body.len == 0 || number == 0 || number > RETAINED_NUMBER)
        return false;
    *ret_number = number;
    *ret_message = body;
    return true;
}

/* ---- keys ---- */

uint64_t key_number(struct span key, size_t len)
{
    uint64_t number = 0;
    (void)take_number(&key, len, &number);
    return number;
}

void key_hash(uint64_t seed, struct span text, uint8_t *out)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(text.data, text.len, seed);
    put_u64(put_u64(out, hash.high64), hash.low64);
}
