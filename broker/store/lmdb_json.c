/* SPDX-License-Identifier: MIT */
/* See lmdb_json.h: one function each way for every table. Owns nothing. */
#include "broker/store/lmdb_json.h"

#include "broker/alloc.h"
#include "broker/auth/base64.h"
#include "broker/delivery.h"
#include "mqtt/topic.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- to JSON ---- */

static void set(json_t *object, const char *name, json_t *value)
{
    CHECK(value && json_object_set_new(object, name, value) == 0);
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    set(object, name, json_integer((json_int_t)number));
}

/* As text when it is some, else with "_base64" behind the name. */
static void set_bytes(json_t *object, const char *name, struct span bytes)
{
    char base64_name[32];
    if (mqtt_utf8_valid(bytes)) {
        set(object, name, json_stringn_nocheck((const char *)bytes.data, bytes.len));
        return;
    }
    char *text = must_have(malloc(BASE64_ROOM(bytes.len)));
    base64_encode(BASE64_PADDED, bytes, text);
    snprintf(base64_name, sizeof base64_name, "%s_base64", name);
    set(object, base64_name, json_string(text));
    free(text);
}

static void set_message(json_t *object, const struct message *message)
{
    struct span forward = message_forward(message);
    set_bytes(object, "topic", message_topic(message));
    set_number(object, "qos", message->qos);
    set(object, "retain", json_boolean(message->retain));
    if (message->expires)
        set_number(object, "expires", message->expires);
    if (forward.len)
        set_bytes(object, "properties", forward);
    set_bytes(object, "payload", message_payload(message));
}

static void meta_to(json_t *object, const struct walk_row *row)
{
    struct meta_row meta;
    if (!meta_decode(row->body, &meta))
        return;
    set(object, "kind", json_string("store"));
    set_number(object, "version", meta.version);
    set_number(object, "starts", meta.starts);
    set_number(object, "last_slot", meta.last_slot);
    set_number(object, "last_sequence", meta.last_sequence);
}

/* Whose rules hold for it. */
static json_t *owner_to(const struct session_record *record)
{
    json_t *owner = must_have(json_object());
    set_number(owner, "port", record->port);
    if (record->named)
        set_bytes(owner, "user", record->user);
    if (record->restricted)
        set_bytes(owner, "topics", record->topics);
    return owner;
}

static void session_to(json_t *object, const struct walk_row *row)
{
    struct session_record record;
    if (session_record_decode(row->body, &record) < 0)
        return;
    set(object, "kind", json_string("session"));
    set_number(object, "slot", key_number(row->key, 4));
    set_bytes(object, "client", record.client_id);
    set_number(object, "epoch", record.epoch);
    set_number(object, "expiry", record.expiry);
    set(object, "connected", json_boolean(record.connected));
    if (record.ends_at != UINT64_MAX)
        set_number(object, "ends_at", record.ends_at);
    if (record.owned)
        set(object, "owner", owner_to(&record));
    if (record.will) {
        json_t *will = json_object();
        set_message(will, record.will);
        set_number(will, "delay", record.will_delay);
        set_number(will, "at", record.will_at);
        set(object, "will", will);
        message_unref(record.will);
    }
}

static void subscription_to(json_t *object, const struct walk_row *row)
{
    struct subscription_record record;
    if (subscription_record_decode(row->body, &record) < 0)
        return;
    set(object, "kind", json_string("subscription"));
    set_number(object, "slot", key_number(row->key, 4));
    set_bytes(object, "filter", record.filter);
    set_number(object, "options", record.options);
    if (record.sub_id)
        set_number(object, "id", record.sub_id);
}

static void group_to(json_t *object, const struct walk_row *row)
{
    set(object, "kind", json_string("group"));
    set_number(object, "slot", key_number(row->key, 4));
    set_bytes(object, "filter", row->body);
}

static json_t *receivers_to(const struct message_row *row)
{
    json_t *list = json_array();
    struct span in = row->receivers;
    for (uint32_t i = 0; i < row->count; i++) {
        struct receiver_row receiver;
        uint32_t id;
        json_t *object = json_object();
        CHECK(take_receiver(&in, &receiver)); /* it was counted when the row was read */
        set_number(object, "slot", receiver.slot);
        set_number(object, "qos", receiver.qos);
        if (receiver.retain)
            set(object, "retain", json_true());
        if (receiver.id_count) {
            json_t *ids = json_array();
            while (take_u32(&receiver.ids, &id))
                CHECK(json_array_append_new(ids, json_integer(id)) == 0);
            set(object, "ids", ids);
        }
        CHECK(json_array_append_new(list, object) == 0);
    }
    return list;
}

static void message_to(json_t *object, const struct walk_row *row)
{
    struct message_row decoded;
    struct message *message = message_row_decode(row->body, &decoded)
                                  ? message_record_decode(decoded.message)
                                  : NULL;
    if (!message)
        return;
    set(object, "kind", json_string("message"));
    set_number(object, "sequence", key_number(row->key, 8));
    set_number(object, "accepted", decoded.accepted);
    set_message(object, message);
    if (decoded.unrouted)
        set_number(object, "unrouted_from", decoded.publisher);
    else
        set(object, "receivers", receivers_to(&decoded));
    message_unref(message);
}

static const char *const log_kinds[] = {
    [LOG_DONE] = "done", [LOG_OUTBOUND] = "outbound", [LOG_INBOUND] = "inbound"
};

static void log_to(json_t *object, const struct walk_row *row)
{
    struct span body = row->body;
    struct log_entry entry;
    json_t *list = json_array();
    set(object, "kind", json_string("log"));
    set_number(object, "number", key_number(row->key, 8));
    while (body.len && take_log_entry(&body, &entry)) {
        json_t *item = json_object();
        set(item, "what", json_string(log_kinds[entry.kind]));
        set_number(item, "slot", entry.slot);
        if (entry.kind != LOG_DONE) {
            set_number(item, "packet_id", entry.packet_id);
            set_number(item, "state", entry.state);
            set_number(item, "order", entry.order);
        }
        if (entry.group)
            set_number(item, "group", entry.group);
        if (entry.sequence)
            set_number(item, "sequence", entry.sequence);
        CHECK(json_array_append_new(list, item) == 0);
    }
    set(object, "entries", list);
}

static void set_retained(json_t *object, uint64_t number, struct span record)
{
    struct message *message = message_record_decode(record);
    if (!message)
        return;
    set(object, "kind", json_string("retained"));
    set_number(object, "number", number);
    set_message(object, message);
    message_unref(message);
}

static void retained_to(json_t *object, const struct walk_row *row)
{
    struct retained_row retained;
    struct author_record record;
    if (!retained_row_decode(row->body, &retained))
        return;
    set_retained(object, key_number(row->key, 8), retained.message);
    if (!retained.author.len || !author_record_decode(retained.author, &record))
        return;
    json_t *author = must_have(json_object());
    set_bytes(author, "client", record.client_id);
    if (record.owned)
        set(author, "owner",
            owner_to(&(struct session_record){ .port = record.port,
                                               .named = record.named,
                                               .user = record.user,
                                               .restricted = record.restricted,
                                               .topics = record.topics }));
    set(object, "author", author);
}

static void retained_1_to(json_t *object, const struct walk_row *row)
{
    struct span body = row->body;
    uint64_t number;
    if (take_u64(&body, &number) && body.len)
        set_retained(object, number, body);
}

/* ---- from JSON ---- */

static const json_int_t no_number = -1;

static json_int_t get_number(const json_t *object, const char *name, json_int_t preset)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : preset;
}

/* Malloc'ed; NULL with false: it is wrong. A name that is not there gives no bytes. */
static bool get_bytes(const json_t *object, const char *name, uint8_t **ret_bytes, size_t *ret_len)
{
    char base64_name[32];
    const json_t *text = json_object_get(object, name);
    snprintf(base64_name, sizeof base64_name, "%s_base64", name);
    const json_t *coded = text ? NULL : json_object_get(object, base64_name);
    const json_t *value = text ? text : coded;
    if (value && !json_is_string(value))
        return false;
    struct span in = span_of(value ? json_string_value(value) : "",
                             value ? json_string_length(value) : 0);
    uint8_t *bytes = must_have(malloc(in.len + 1));
    *ret_len = in.len;
    if (in.len)
        memcpy(bytes, in.data, in.len);
    if (coded && !base64_decode(BASE64_PADDED, in, bytes, in.len, ret_len)) {
        free(bytes);
        return false;
    }
    *ret_bytes = bytes;
    return true;
}

/* Not checked: the row is, once it is whole. */
static struct message *get_message(const json_t *object)
{
    uint8_t *topic = NULL, *forward = NULL, *payload = NULL;
    struct message_parts parts = { .retain = json_is_true(json_object_get(object, "retain")) };
    struct message *message = NULL;
    json_int_t qos = get_number(object, "qos", no_number);
    parts.qos = (uint8_t)qos;
    parts.expires = (uint64_t)get_number(object, "expires", 0);
    if (qos >= 0 && qos <= 2 && get_bytes(object, "topic", &topic, &parts.topic.len) &&
        get_bytes(object, "properties", &forward, &parts.forward.len) &&
        get_bytes(object, "payload", &payload, &parts.payload.len) &&
        parts.topic.len <= UINT16_MAX) {
        parts.topic.data = topic;
        parts.forward.data = forward;
        parts.payload.data = payload;
        message = message_from_parts(&parts);
    }
    free(topic);
    free(forward);
    free(payload);
    return message;
}

static void slot_key(const json_t *object, struct json_row *row)
{
    put_u32(row->key, (uint32_t)get_number(object, "slot", 0));
    row->key_len = 4;
}

static bool has_bytes(const json_t *object, const char *name)
{
    char base64_name[32];
    snprintf(base64_name, sizeof base64_name, "%s_base64", name);
    return json_object_get(object, name) || json_object_get(object, base64_name);
}

/* What `record` points to is the caller's then, also when this fails. */
static bool owner_from(const json_t *owner, struct session_record *record, uint8_t *ret_owned[2])
{
    record->owned = true;
    record->port = (uint16_t)get_number(owner, "port", 0);
    record->named = has_bytes(owner, "user");
    record->restricted = has_bytes(owner, "topics");
    if (!get_bytes(owner, "user", &ret_owned[0], &record->user.len) ||
        !get_bytes(owner, "topics", &ret_owned[1], &record->topics.len))
        return false;
    record->user.data = ret_owned[0];
    record->topics.data = ret_owned[1];
    return record->user.len <= UINT16_MAX && record->topics.len <= UINT32_MAX;
}

static bool session_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    struct session_record record = { .epoch = (uint64_t)get_number(object, "epoch", 0) };
    const json_t *will = json_object_get(object, "will");
    const json_t *owner = json_object_get(object, "owner");
    uint8_t *id, *owned[2] = { NULL, NULL };
    (void)seed;
    if (!get_bytes(object, "client", &id, &record.client_id.len))
        return false;
    bool good = record.client_id.len <= UINT16_MAX;
    record.client_id.data = id;
    record.expiry = (uint32_t)get_number(object, "expiry", 0);
    record.connected = json_is_true(json_object_get(object, "connected"));
    record.ends_at = (uint64_t)get_number(object, "ends_at", -1);
    if (owner)
        good = owner_from(owner, &record, owned) && good;
    if (will) {
        record.will = get_message(will);
        record.will_delay = (uint32_t)get_number(will, "delay", 0);
        record.will_at = (uint64_t)get_number(will, "at", 0);
        good = good && record.will;
    }
    slot_key(object, row);
    if (good)
        row->body = session_record_encode(&record, &row->len);
    message_unref(record.will);
    free(id);
    free(owned[0]);
    free(owned[1]);
    return good && row->body;
}

static bool subscription_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    struct subscription_record record = { .options = (uint8_t)get_number(object, "options", 0) };
    uint8_t *filter;
    if (!get_bytes(object, "filter", &filter, &record.filter.len))
        return false;
    record.filter.data = filter;
    record.sub_id = (uint32_t)get_number(object, "id", 0);
    slot_key(object, row);
    key_hash(seed, record.filter, row->key + 4);
    row->key_len = 4 + 16;
    row->body = subscription_record_encode(&record, &row->len);
    free(filter);
    return row->body != NULL;
}

static bool group_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    (void)seed;
    slot_key(object, row);
    return get_bytes(object, "filter", &row->body, &row->len);
}

static bool receiver_from(const json_t *object, struct receiver *receiver)
{
    const json_t *ids = json_object_get(object, "ids");
    size_t count = json_array_size(ids);
    *receiver = (struct receiver){ .slot = (uint32_t)get_number(object, "slot", 0),
                                   .qos = (uint8_t)get_number(object, "qos", 3),
                                   .retain = json_is_true(json_object_get(object, "retain")) };
    if (receiver->qos > 2 || count > UINT16_MAX)
        return false;
    if (count == 0)
        return true;
    uint32_t *numbers = must_have(calloc(count, sizeof *numbers));
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)json_integer_value(json_array_get(ids, i));
    receiver->ids = sub_ids_new(numbers, (uint32_t)count);
    free(numbers);
    return receiver->ids != NULL;
}

static bool message_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    const json_t *list = json_object_get(object, "receivers");
    bool unrouted = list == NULL, good = true;
    uint64_t sequence = (uint64_t)get_number(object, "sequence", 0);
    size_t count = json_array_size(list);
    struct message *message = get_message(object);
    (void)seed;
    if (!message || count > UINT32_MAX)
        return message_unref(message), false;
    message->stored = must_have(
        stored_new(sequence, (uint64_t)get_number(object, "accepted", 0), (uint32_t)count));
    for (size_t i = 0; i < count && good; i++)
        good = receiver_from(json_array_get(list, i), &message->stored->receivers[i]);
    put_u64(row->key, sequence);
    row->key_len = 8;
    if (good) {
        row->len = message_row_size(message, unrouted);
        row->body = must_have(malloc(row->len));
        message_row_encode(message, unrouted, (uint32_t)get_number(object, "unrouted_from", 0),
                           row->body);
    }
    message_unref(message);
    return good;
}

static bool entry_from(const json_t *object, struct log_entry *entry)
{
    const char *what = json_string_value(json_object_get(object, "what"));
    *entry = (struct log_entry){ .state = (uint8_t)get_number(object, "state", 0),
                                 .packet_id = (uint16_t)get_number(object, "packet_id", 0),
                                 .slot = (uint32_t)get_number(object, "slot", 0),
                                 .group = (uint32_t)get_number(object, "group", 0),
                                 .sequence = (uint64_t)get_number(object, "sequence", 0),
                                 .order = (uint64_t)get_number(object, "order", 0) };
    for (int kind = LOG_DONE; kind <= LOG_INBOUND && what; kind++)
        if (strcmp(log_kinds[kind], what) == 0)
            entry->kind = (enum log_kind)kind;
    return entry->kind != 0;
}

static bool log_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    const json_t *list = json_object_get(object, "entries");
    size_t count = json_array_size(list);
    struct log_entry entry;
    (void)seed;
    put_u64(row->key, (uint64_t)get_number(object, "number", 0));
    row->key_len = 8;
    row->len = count * LOG_ENTRY;
    row->body = must_have(malloc(row->len + 1));
    for (size_t i = 0; i < count; i++) {
        if (!entry_from(json_array_get(list, i), &entry))
            return false;
        log_entry_encode(&entry, row->body + i * LOG_ENTRY);
    }
    return true;
}

/* Malloc'ed, empty when nobody knows; false: it is wrong. */
static bool author_from(const json_t *object, uint8_t **ret_record, size_t *ret_len)
{
    struct author_record author = { .owned = false };
    struct session_record owner = { .owned = false };
    const json_t *who = json_object_get(object, "owner");
    uint8_t *id = NULL, *owned[2] = { NULL, NULL };
    *ret_record = NULL;
    *ret_len = 0;
    if (!object)
        return true;
    bool good = get_bytes(object, "client", &id, &author.client_id.len) &&
                author.client_id.len <= UINT16_MAX && (!who || owner_from(who, &owner, owned));
    if (good) {
        author.client_id.data = id;
        author.owned = owner.owned;
        author.named = owner.named;
        author.user = owner.user;
        author.port = owner.port;
        author.restricted = owner.restricted;
        author.topics = owner.topics;
        *ret_record = must_have(author_record_encode(&author, ret_len));
    }
    free(id);
    free(owned[0]);
    free(owned[1]);
    return good;
}

static bool retained_from(const json_t *object, uint64_t seed, struct json_row *row)
{
    uint8_t *author;
    size_t author_len;
    (void)seed;
    if (!author_from(json_object_get(object, "author"), &author, &author_len))
        return false;
    struct message *message = get_message(object);
    if (message) {
        struct span by = span_of(author, author_len);
        put_u64(row->key, (uint64_t)get_number(object, "number", 0));
        row->key_len = 8;
        row->len = retained_row_size(by, message_record_size(message));
        row->body = must_have(malloc(row->len));
        message_record_encode(message, retained_row_encode(by, row->body));
    }
    message_unref(message);
    free(author);
    return row->body != NULL;
}

/* ---- the table of both ---- */

static const struct {
    const char *kind;
    void (*to)(json_t *object, const struct walk_row *row);
    bool (*from)(const json_t *object, uint64_t seed, struct json_row *row);
} kinds[TABLES] = {
    [TABLE_META] = { "store", meta_to, NULL },
    [TABLE_SESSION] = { "session", session_to, session_from },
    [TABLE_SUBSCRIPTION] = { "subscription", subscription_to, subscription_from },
    [TABLE_GROUP] = { "group", group_to, group_from },
    [TABLE_MESSAGE] = { "message", message_to, message_from },
    [TABLE_LOG] = { "log", log_to, log_from },
    [TABLE_RETAINED] = { "retained", retained_to, retained_from },
    [TABLE_RETAINED_1] = { "retained", retained_1_to, NULL },
};

char *json_from_row(const struct walk_row *row)
{
    json_t *object = must_have(json_object());
    kinds[row->table].to(object, row);
    char *line = json_object_size(object) ? json_dumps(object, JSON_COMPACT) : strdup("");
    json_decref(object);
    return line;
}

static int read_object(const json_t *object, uint64_t seed, struct json_row *row,
                       const char **ret_why)
{
    const char *kind = json_string_value(json_object_get(object, "kind"));
    int table = 0;
    while (table < TABLES && (!kind || strcmp(kinds[table].kind, kind) != 0))
        table++;
    *ret_why = "its kind is not known";
    if (table == TABLES)
        return -EBADMSG;
    row->table = (enum table)table;
    if (!kinds[table].from)
        return get_number(object, "version", 0) > STORE_VERSION ? -ENOTSUP : -ENOENT;
    *ret_why = "something in it is missing or wrong";
    if (!kinds[table].from(object, seed, row))
        return -EBADMSG;
    const struct walk_row check = { .table = row->table,
                                    .key = span_of(row->key, row->key_len),
                                    .body = span_of(row->body, row->len) };
    return walk_row_valid(&check) ? 0 : -EBADMSG;
}

int json_to_row(struct span line, uint64_t seed, struct json_row *ret_row, const char **ret_why)
{
    struct json_row row = { .body = NULL };
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES, &error);
    *ret_why = "it is no JSON object";
    int rc = json_is_object(object) ? read_object(object, seed, &row, ret_why) : -EBADMSG;
    json_decref(object);
    if (rc)
        free(row.body);
    else
        *ret_row = row;
    return rc;
}
