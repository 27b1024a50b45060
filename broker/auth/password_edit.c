/* SPDX-License-Identifier: MIT */
/*
 * See password_edit.h. Lines that are not touched are written as they were, but for blanks at their
 * ends. Passwords in the open pass through here, so what is freed is wiped.
 */
#include "broker/auth/password_edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "broker/alloc.h"
#include "broker/auth/password_file.h"
#include "broker/auth/password_hash.h"
#include "broker/err.h"

struct output {
    char *text;
    size_t len, room;
};

static void put(struct output *out, struct span bytes)
{
    if (!out->text || out->len + bytes.len + 1 > out->room) {
        size_t room = (out->len + bytes.len + 1) * 2;
        char *larger = must_have(malloc(room));
        if (out->len)
            memcpy(larger, out->text, out->len);
        if (out->text)
            OPENSSL_cleanse(out->text, out->len);
        free(out->text);
        out->text = larger;
        out->room = room;
    }
    if (bytes.len)
        memcpy(out->text + out->len, bytes.data, bytes.len);
    out->len += bytes.len;
    out->text[out->len] = '\0';
}

static void put_line(struct output *out, struct span line)
{
    put(out, line);
    put(out, span_str("\n"));
}

static void put_user(struct output *out, struct span user, const char *stored)
{
    put(out, user);
    put(out, span_str(":"));
    put_line(out, span_str(stored));
}

static char *finish(struct output *out, size_t *ret_len)
{
    put(out, (struct span){ 0 }); /* so that there is a text */
    *ret_len = out->len;
    return out->text;
}

/* `stored` NULL: without him. */
static char *replace(struct span text, struct span user, const char *stored, size_t *ret_len,
                     bool *ret_found)
{
    struct output out = { 0 };
    struct span line, name, old;
    unsigned number = 0;
    bool found = false;
    while (password_line(&text, &line, &number)) {
        if (!password_split(line, &name, &old) || !span_equal(name, user)) {
            put_line(&out, line);
            continue;
        }
        if (stored && !found)
            put_user(&out, user, stored);
        found = true;
    }
    if (stored && !found)
        put_user(&out, user, stored);
    *ret_found = found;
    return finish(&out, ret_len);
}

char *password_edit_set(struct span text, struct span user, const char *stored, size_t *ret_len,
                        bool *ret_found)
{
    return replace(text, user, stored, ret_len, ret_found);
}

char *password_edit_remove(struct span text, struct span user, size_t *ret_len, bool *ret_found)
{
    return replace(text, user, NULL, ret_len, ret_found);
}

char *password_edit_upgrade(struct span text, password_hash_fn *hash, void *ctx, size_t *ret_len,
                            size_t *ret_count)
{
    struct output out = { 0 };
    struct span line, user, password;
    unsigned number = 0;
    size_t count = 0;
    while (password_line(&text, &line, &number)) {
        char stored[PASSWORD_TEXT_MAX];
        if (!password_split(line, &user, &password) || password.len == 0 ||
            password_is_hashed(password)) {
            put_line(&out, line);
            continue;
        }
        if (!hash(ctx, password, stored)) {
            if (out.text)
                OPENSSL_cleanse(out.text, out.len);
            free(out.text);
            return NULL;
        }
        put_user(&out, user, stored);
        count++;
    }
    *ret_count = count;
    return finish(&out, ret_len);
}
