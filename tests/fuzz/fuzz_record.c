/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what is read back from the store, and lines of JSON that make a store. The first byte says
 * which kind of record, the rest is its bytes. What is accepted is written again, and must give the
 * same bytes; a row is shown as JSON as well. One thread, no state.
 */
#include <assert.h>
#include <stdlib.h>

#include "broker/message.h"
#include "broker/store/lmdb_json.h"
#include "broker/store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(struct span bytes)
{
    struct message *message = message_record_decode(bytes);
    if (!message)
        return;
    size_t len = message_record_size(message);
    uint8_t *again = malloc(len);
    assert(again != NULL && len == bytes.len);
    message_record_encode(message, again);
    assert(memcmp(again, bytes.data, len) == 0);
    free(again);
    message_unref(message);
}

static void check_session(struct span bytes)
{
    struct session_record record;
    size_t len;
    if (session_record_decode(bytes, &record) < 0)
        return;
    uint8_t *again = session_record_encode(&record, &len);
    assert(again != NULL && len == bytes.len && memcmp(again, bytes.data, len) == 0);
    free(again);
    message_unref(record.will);
}

static void check_subscription(struct span bytes)
{
    struct subscription_record record;
    size_t len;
    if (subscription_record_decode(bytes, &record) < 0)
        return;
    uint8_t *again = subscription_record_encode(&record, &len);
    assert(again != NULL && len == bytes.len && memcmp(again, bytes.data, len) == 0);
    free(again);
}

/* The bytes of a row's body, by its table, behind a key of zeros. */
static void check_row(struct span bytes)
{
    static const uint8_t zeros[ROW_KEY_MAX];
    static const size_t key_lens[TABLES] = { 5, 4, 20, 4, 8, 8, 16 };
    if (bytes.len < 1)
        return;
    enum table table = (enum table)(bytes.data[0] % TABLES);
    struct walk_row row = { .table = table,
                            .key = span_of(zeros, key_lens[table]),
                            .body = span_of(bytes.data + 1, bytes.len - 1) };
    if (!walk_row_valid(&row))
        return;
    char *line = json_from_row(&row);
    assert(line != NULL);
    free(line);
}

static void check_json(struct span bytes)
{
    struct json_row row;
    const char *why;
    if (json_to_row(bytes, 1, &row, &why) < 0)
        return;
    struct walk_row walked = { .table = row.table,
                               .key = span_of(row.key, row.key_len),
                               .body = span_of(row.body, row.len) };
    char *line = json_from_row(&walked);
    assert(line != NULL && walk_row_valid(&walked));
    free(line);
    free(row.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct span bytes) = { check_message, check_session,
                                                         check_subscription, check_row,
                                                         check_json };
    if (size < 1)
        return 0;
    checks[data[0] % (sizeof checks / sizeof *checks)](span_of(data + 1, size - 1));
    return 0;
}
