/* SPDX-License-Identifier: MIT */
/*
 * Stored passwords, as password files hold them:
 *
 *     $6$salt$digest                         SHA-512 of password and salt (mosquitto before 2.0)
 *     $7$rounds$salt$digest                  PBKDF2 with HMAC-SHA-512 (mosquitto 2.0)
 *     PBKDF2$sha512$rounds$salt$digest       the same, as mosquitto-go-auth writes it
 *     $argon2id$v=19$m=KiB,t=rounds,p=lanes$salt$digest
 *
 * Salt and digest are Base64. Owns no memory beyond a call, knows no file and no thread: computing
 * one takes long, so it runs wherever waiting hurts nobody, which is never a worker.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "broker/err.h"
#include "mqtt/span.h"

enum password_kind { PASSWORD_SHA512, PASSWORD_PBKDF2, PASSWORD_ARGON2ID };

enum {
    PASSWORD_SALT_MAX = 64,
    PASSWORD_DIGEST_MAX = 64,
    PASSWORD_ARGON2_ROUNDS_MAX = 1000,
    PASSWORD_TEXT_MAX = 320, /* of a stored password that was made here */
};

/* Compared and hashed as bytes, so it is made from zeroed memory. */
struct password_hash {
    uint8_t kind;  /* enum password_kind */
    uint8_t style; /* which of several spellings of that kind; a row of the table */
    uint8_t lanes; /* Argon2 */
    uint8_t salt_len;
    uint8_t digest_len;
    uint8_t unused[3];
    uint32_t rounds; /* PBKDF2, Argon2 */
    uint32_t memory; /* Argon2: KiB */
    uint8_t salt[PASSWORD_SALT_MAX];
    uint8_t digest[PASSWORD_DIGEST_MAX];
};

/* Whether the text begins like a stored password. */
bool password_is_hashed(struct span text);

/* Reads a stored password. NULL when it is good, else what is wrong with it. */
const char *password_hash_parse(struct span text, struct password_hash *ret);

enum password_verdict { PASSWORD_WRONG, PASSWORD_RIGHT, PASSWORD_NO_MEMORY };

/* Computes and compares: takes as long for a wrong password as for the right one. */
enum password_verdict password_verify(const struct password_hash *hash, struct span password);

/* How many bytes password_verify() needs for a while. */
size_t password_memory(const struct password_hash *hash);

/* The way in which a kind is made here, with its usual cost; `rounds` 0: the usual ones. `salt` is
 * PASSWORD_NEW_SALT random bytes. Writes the text with its NUL. */
enum { PASSWORD_NEW_SALT = 16 };
MUST_USE enum err password_make(enum password_kind kind, uint32_t rounds, struct span password,
                                const uint8_t salt[PASSWORD_NEW_SALT],
                                char ret_text[PASSWORD_TEXT_MAX]);
