/* SPDX-License-Identifier: MIT */
/*
 * See remembered.h: a set-associative table of tags. Tags are unpredictable, so a part of a tag is
 * its place, and an all-zero one is a free place.
 */
#include "broker/auth/remembered.h"

#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "broker/alloc.h"
#include "broker/auth/password_hash.h"
#include "broker/locks.h"

enum { PLACES = 16384, WAYS = 8 }; /* 131,072 tags: 2 MB, touched as they are needed */

struct place {
    uint8_t tags[WAYS][REMEMBERED_TAG]; /* the newest first */
};

struct remembered {
    uint8_t key[REMEMBERED_KEY]; /* (i) */
    EVP_MAC *mac;                /* (i) */
    pthread_mutex_t lock;        /* rank auth */
    struct place *places;        /* (L) */
};

struct remembered *remembered_new(const uint8_t key[REMEMBERED_KEY])
{
    struct remembered *remembered = must_have(calloc(1, sizeof *remembered));
    memcpy(remembered->key, key, REMEMBERED_KEY);
    remembered->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    remembered->places = must_have(calloc(PLACES, sizeof *remembered->places));
    pthread_mutex_init(&remembered->lock, NULL);
    return remembered;
}

void remembered_free(struct remembered *remembered)
{
    EVP_MAC_free(remembered->mac);
    OPENSSL_cleanse(remembered->key, sizeof remembered->key);
    pthread_mutex_destroy(&remembered->lock);
    free(remembered->places);
    free(remembered);
}

bool remembered_tag(const struct remembered *remembered, struct span user,
                    const struct password_hash *stored, struct span password,
                    uint8_t ret_tag[REMEMBERED_TAG])
{
    uint8_t digest[32];
    size_t len = 0;
    uint32_t user_len = (uint32_t)user.len; /* so that no user ends where a password begins */
    char sha256[] = "SHA256";
    const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256,
                                                                   0),
                                  OSSL_PARAM_construct_end() };
    EVP_MAC_CTX *context = remembered->mac ? EVP_MAC_CTX_new(remembered->mac) : NULL;
    bool good = context &&
                EVP_MAC_init(context, remembered->key, sizeof remembered->key, params) == 1 &&
                EVP_MAC_update(context, (const uint8_t *)&user_len, sizeof user_len) == 1 &&
                EVP_MAC_update(context, user.data, user.len) == 1 &&
                EVP_MAC_update(context, (const uint8_t *)stored, sizeof *stored) == 1 &&
                EVP_MAC_update(context, password.data, password.len) == 1 &&
                EVP_MAC_final(context, digest, &len, sizeof digest) == 1;
    EVP_MAC_CTX_free(context);
    if (good)
        memcpy(ret_tag, digest, REMEMBERED_TAG);
    return good;
}

static struct place *place_of(struct remembered *remembered, const uint8_t *tag)
{
    uint32_t number;
    memcpy(&number, tag, sizeof number);
    return &remembered->places[number % PLACES];
}

bool remembered_has(struct remembered *remembered, const uint8_t tag[REMEMBERED_TAG])
{
    bool found = false;
    lock_take(&remembered->lock, RANK_AUTH);
    const struct place *place = place_of(remembered, tag);
    for (unsigned i = 0; i < WAYS; i++)
        found |= CRYPTO_memcmp(place->tags[i], tag, REMEMBERED_TAG) == 0;
    lock_drop(&remembered->lock, RANK_AUTH);
    return found;
}

void remembered_add(struct remembered *remembered, const uint8_t tag[REMEMBERED_TAG])
{
    lock_take(&remembered->lock, RANK_AUTH);
    struct place *place = place_of(remembered, tag);
    unsigned at = 0; /* where it is already, so that it becomes the newest, or the oldest one's */
    while (at < WAYS - 1 && memcmp(place->tags[at], tag, REMEMBERED_TAG) != 0)
        at++;
    memmove(place->tags[1], place->tags[0], at * REMEMBERED_TAG);
    memcpy(place->tags[0], tag, REMEMBERED_TAG);
    lock_drop(&remembered->lock, RANK_AUTH);
}
