/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what is read back from the store. The first byte says which kind of record, the rest is
 * its bytes. What is accepted is written again, and must give the same bytes. One thread, no state.
 */
#include <assert.h>
#include <stdlib.h>

#include "broker/message.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct span bytes) = { check_message, check_session,
                                                         check_subscription };
    if (size < 1)
        return 0;
    checks[data[0] % (sizeof checks / sizeof *checks)](span_of(data + 1, size - 1));
    return 0;
}
