/* SPDX-License-Identifier: MIT */
/*
 * See password_hash.h: a table of the spellings, a reader for the fields between their dollar
 * signs, and a function a kind that computes the digest. What a file can make us spend is bounded
 * here; the password is any bytes a client sent.
 */
#include "broker/auth/password_hash.h"

#include <stdio.h>
#include <string.h>

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/mman.h>

#include "broker/auth/base64.h"

enum {
    ROUNDS_MAX = 10000000,
    ARGON2_MEMORY_MAX = 1024 * 1024, /* KiB */
    ARGON2_LANES_MAX = 64,
    DIGEST_LEAST = 16,
    /* What is made here: about 25 ms on one core of today. */
    NEW_ARGON2_MEMORY = 19 * 1024,
    NEW_ARGON2_ROUNDS = 2,
    NEW_PBKDF2_ROUNDS = 210000,
    NEW_ARGON2_DIGEST = 32,
    NEW_SHA512_DIGEST = 64,
    NEW_SHA512_SALT = 12, /* mosquitto reads no other */
};

/* ---- the spellings --------------------------------------------------------------------------- */

static const struct style {
    const char *prefix;
    enum password_kind kind;
    enum base64_style base64;
    bool rounds;     /* a field of its own comes first */
    const char *sha; /* of PBKDF2 */
} styles[] = {
    { "$argon2id$v=19$", PASSWORD_ARGON2ID, BASE64_UNPADDED, false, NULL },
    { "$7$", PASSWORD_PBKDF2, BASE64_PADDED, true, "SHA512" },
    { "$6$", PASSWORD_SHA512, BASE64_PADDED, false, NULL },
    { "PBKDF2$sha512$", PASSWORD_PBKDF2, BASE64_PADDED, true, "SHA512" },
    { "PBKDF2$sha256$", PASSWORD_PBKDF2, BASE64_PADDED, true, "SHA256" },
};
enum { STYLES = sizeof styles / sizeof *styles };

/* Of others; whoever has them is told what to do, instead of that they are no hash at all. */
static const char *const foreign[] = { "$argon2", "$1$", "$2a$",    "$2b$", "$2y$",
                                       "$5$",     "$y$", "PBKDF2$", "{" };

static bool begins_with(struct span text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

bool password_is_hashed(struct span text)
{
    for (size_t i = 0; i < STYLES; i++)
        if (begins_with(text, styles[i].prefix))
            return true;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (begins_with(text, foreign[i]))
            return true;
    return false;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The text up to `end` (or all of it, for the last field) and moves on behind that. False when
 * there is no `end`. */
static bool take_field(struct span *text, char end, struct span *ret)
{
    const uint8_t *at = text->len ? memchr(text->data, end, text->len) : NULL;
    if (!at)
        return false;
    *ret = span_of(text->data, (size_t)(at - text->data));
    *text = span_of(at + 1, text->len - ret->len - 1);
    return true;
}

static bool read_number(struct span text, uint32_t max, uint32_t *ret)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret = (uint32_t)number;
    return number >= 1 && number <= max;
}

/* "m=19456,t=2,p=1$" */
static const char *read_argon2_cost(struct span *text, struct password_hash *hash)
{
    struct span memory, rounds, lanes;
    uint32_t number = 0;
    if (!begins_with(*text, "m=") || !take_field(text, ',', &memory) || !begins_with(*text, "t=") ||
        !take_field(text, ',', &rounds) || !begins_with(*text, "p=") ||
        !take_field(text, '$', &lanes))
        return "does not read $argon2id$v=19$m=...,t=...,p=...$salt$digest";
    if (!read_number(span_of(memory.data + 2, memory.len - 2), ARGON2_MEMORY_MAX, &hash->memory))
        return "wants more memory than 1 GiB (m=1048576)";
    if (!read_number(span_of(rounds.data + 2, rounds.len - 2), PASSWORD_ARGON2_ROUNDS_MAX,
                     &hash->rounds))
        return "wants more than 1000 rounds (t)";
    if (!read_number(span_of(lanes.data + 2, lanes.len - 2), ARGON2_LANES_MAX, &number))
        return "wants more than 64 lanes (p)";
    hash->lanes = (uint8_t)number;
    return hash->memory < 8 * number ? "has less memory than 8 KiB a lane" : NULL;
}

static bool read_base64(enum base64_style style, struct span text, uint8_t *out, size_t room,
                        uint8_t *ret_len)
{
    size_t len = 0;
    bool good = base64_decode(style, text, out, room, &len) && len > 0;
    *ret_len = (uint8_t)len;
    return good;
}

const char *password_hash_parse(struct span text, struct password_hash *ret)
{
    struct password_hash hash = { 0 };
    const struct style *style = styles;
    const char *why = NULL;
    struct span field;
    while (style < styles + STYLES && !begins_with(text, style->prefix))
        style++;
    if (style == styles + STYLES)
        return "is of a kind that is not known here; set it anew with: noctule passwd";
    hash.kind = (uint8_t)style->kind;
    hash.style = (uint8_t)(style - styles);
    text = span_of(text.data + strlen(style->prefix), text.len - strlen(style->prefix));
    if (style->rounds &&
        (!take_field(&text, '$', &field) || !read_number(field, ROUNDS_MAX, &hash.rounds)))
        return "has no number of rounds from 1 to 10000000";
    if (style->kind == PASSWORD_ARGON2ID && (why = read_argon2_cost(&text, &hash)))
        return why;
    if (!take_field(&text, '$', &field) ||
        !read_base64(style->base64, field, hash.salt, sizeof hash.salt, &hash.salt_len))
        return "has a salt that is not Base64 of 1 to 64 bytes";
    if (style->kind == PASSWORD_ARGON2ID && hash.salt_len < ARGON2_MIN_SALT_LENGTH)
        return "has a salt that is too short";
    if (!read_base64(style->base64, text, hash.digest, sizeof hash.digest, &hash.digest_len) ||
        hash.digest_len < DIGEST_LEAST)
        return "has a digest that is not Base64 of 16 to 64 bytes";
    if (style->kind == PASSWORD_SHA512 && hash.digest_len != NEW_SHA512_DIGEST)
        return "has a digest that is not one of SHA-512";
    *ret = hash;
    return NULL;
}

/* ---- computing ------------------------------------------------------------------------------- */

static bool digest_sha512(const struct password_hash *hash, struct span password, uint8_t *out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestInit_ex(context, EVP_sha512(), NULL) == 1 &&
                EVP_DigestUpdate(context, password.data, password.len) == 1 &&
                EVP_DigestUpdate(context, hash->salt, hash->salt_len) == 1 &&
                EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

static bool digest_pbkdf2(const struct password_hash *hash, struct span password, uint8_t *out)
{
    const EVP_MD *sha = strcmp(styles[hash->style].sha, "SHA256") == 0 ? EVP_sha256()
                                                                       : EVP_sha512();
    return PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.len, hash->salt,
                             hash->salt_len, (int)hash->rounds, sha, hash->digest_len, out) == 1;
}

/* Large and short-lived: straight from the kernel and back to it, so that it never stays with us. */
static int map_memory(uint8_t **ret_memory, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    *ret_memory = memory;
    return ARGON2_OK;
}

static void unmap_memory(uint8_t *memory, size_t bytes)
{
    munmap(memory, bytes);
}

static bool digest_argon2id(const struct password_hash *hash, struct span password, uint8_t *out)
{
    argon2_context context = {
        .out = out,
        .outlen = hash->digest_len,
        .pwd = (uint8_t *)(uintptr_t)password.data, /* not written, but not declared so */
        .pwdlen = (uint32_t)password.len,
        .salt = (uint8_t *)(uintptr_t)hash->salt,
        .saltlen = hash->salt_len,
        .t_cost = hash->rounds,
        .m_cost = hash->memory,
        .lanes = hash->lanes,
        .threads = 1, /* how many passwords are checked at once is decided elsewhere */
        .version = ARGON2_VERSION_13,
        .allocate_cbk = map_memory,
        .free_cbk = unmap_memory,
    };
    return argon2id_ctx(&context) == ARGON2_OK;
}

typedef bool digest_fn(const struct password_hash *hash, struct span password, uint8_t *out);

static digest_fn *const digests[] = {
    [PASSWORD_SHA512] = digest_sha512,
    [PASSWORD_PBKDF2] = digest_pbkdf2,
    [PASSWORD_ARGON2ID] = digest_argon2id,
};

enum password_verdict password_verify(const struct password_hash *hash, struct span password)
{
    uint8_t digest[PASSWORD_DIGEST_MAX];
    if (password.len == 0)
        password = span_of("", 0); /* NULL means something else to the libraries */
    if (!digests[hash->kind](hash, password, digest))
        return PASSWORD_NO_MEMORY;
    bool right = CRYPTO_memcmp(digest, hash->digest, hash->digest_len) == 0;
    OPENSSL_cleanse(digest, sizeof digest);
    return right ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

size_t password_memory(const struct password_hash *hash)
{
    return (size_t)hash->memory * 1024;
}

/* ---- making ---------------------------------------------------------------------------------- */

static struct password_hash new_hash(enum password_kind kind, uint32_t rounds)
{
    struct password_hash hash = { .kind = (uint8_t)kind,
                                  .salt_len = NEW_SHA512_SALT,
                                  .digest_len = NEW_SHA512_DIGEST };
    while (styles[hash.style].kind != kind)
        hash.style++;
    if (kind == PASSWORD_PBKDF2)
        hash.rounds = rounds ? rounds : NEW_PBKDF2_ROUNDS;
    if (kind == PASSWORD_ARGON2ID) {
        hash.salt_len = PASSWORD_NEW_SALT;
        hash.digest_len = NEW_ARGON2_DIGEST;
        hash.rounds = rounds ? rounds : NEW_ARGON2_ROUNDS;
        hash.memory = NEW_ARGON2_MEMORY;
        hash.lanes = 1;
    }
    return hash;
}

enum err password_make(enum password_kind kind, uint32_t rounds, struct span password,
                       const uint8_t salt[PASSWORD_NEW_SALT], char ret_text[PASSWORD_TEXT_MAX])
{
    struct password_hash hash = new_hash(kind, rounds);
    const struct style *style = &styles[hash.style];
    char cost[64] = "", salt_text[BASE64_ROOM(PASSWORD_NEW_SALT)];
    char digest_text[BASE64_ROOM(PASSWORD_DIGEST_MAX)];
    if (password.len == 0)
        password = span_of("", 0);
    memcpy(hash.salt, salt, hash.salt_len);
    if (!digests[kind](&hash, password, hash.digest))
        return ERR_NO_MEMORY;
    if (kind == PASSWORD_ARGON2ID)
        snprintf(cost, sizeof cost, "m=%u,t=%u,p=%u$", hash.memory, hash.rounds, hash.lanes);
    else if (style->rounds)
        snprintf(cost, sizeof cost, "%u$", hash.rounds);
    base64_encode(style->base64, span_of(hash.salt, hash.salt_len), salt_text);
    base64_encode(style->base64, span_of(hash.digest, hash.digest_len), digest_text);
    snprintf(ret_text, PASSWORD_TEXT_MAX, "%s%s%s$%s", style->prefix, cost, salt_text, digest_text);
    return ERR_OK;
}
