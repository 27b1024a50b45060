/* SPDX-License-Identifier: MIT */
/*
 * See password_file.h: lines into an open-addressed table of users. Whoever reads the configuration
 * makes it, on one thread; afterwards nothing of it is written but the count of references.
 */
#include "broker/auth/password_file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <xxhash.h>

#include "broker/alloc.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "broker/whole_file.h"

enum {
    FILE_BYTES_MAX = 256 * 1024 * 1024,
    USER_MAX = 65535, /* what CONNECT can say */
    TABLE_FIRST = 16,
};

struct entry {
    char *user; /* owned; NULL: a free place */
    uint32_t len;
    unsigned line;
    struct password_hash hash;
};

struct password_file {
    atomic_uint references;
    struct entry *table;
    size_t room, count; /* room: a power of two, at least twice the count */
};

/* ---- the table ------------------------------------------------------------------------------- */

static uint64_t hash_of(struct span user)
{
    return XXH3_64bits(user.len ? (const void *)user.data : "", user.len);
}

/* The user's place, or the free one where he would be. */
static struct entry *place_of(const struct password_file *file, struct span user)
{
    size_t at = hash_of(user) & (file->room - 1);
    while (file->table[at].user &&
           !span_equal(span_of(file->table[at].user, file->table[at].len), user))
        at = (at + 1) & (file->room - 1);
    return &file->table[at];
}

static void grow(struct password_file *file)
{
    struct password_file larger = { .room = file->room ? file->room * 2 : TABLE_FIRST };
    larger.table = must_have(calloc(larger.room, sizeof *larger.table));
    for (size_t i = 0; i < file->room; i++)
        if (file->table[i].user)
            *place_of(&larger, span_of(file->table[i].user, file->table[i].len)) = file->table[i];
    free(file->table);
    file->table = larger.table;
    file->room = larger.room;
}

static struct entry *add(struct password_file *file, struct span user)
{
    if (file->count * 2 >= file->room)
        grow(file);
    struct entry *entry = place_of(file, user);
    if (entry->user)
        return entry;
    entry->user = must_have(malloc(user.len + 1));
    memcpy(entry->user, user.data, user.len);
    entry->len = (uint32_t)user.len;
    file->count++;
    return entry;
}

const struct password_hash *password_file_find(const struct password_file *file, struct span user)
{
    const struct entry *entry = file->room ? place_of(file, user) : NULL;
    return entry && entry->user ? &entry->hash : NULL;
}

const struct password_hash *password_file_decoy(const struct password_file *file, struct span user)
{
    if (file->count == 0)
        return NULL;
    size_t at = hash_of(user) & (file->room - 1);
    while (!file->table[at].user)
        at = (at + 1) & (file->room - 1);
    return &file->table[at].hash;
}

struct password_file *password_file_ref(struct password_file *file)
{
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    return file;
}

void password_file_unref(struct password_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < file->room; i++)
        free(file->table[i].user);
    free(file->table);
    free(file);
}

/* ---- lines ----------------------------------------------------------------------------------- */

bool password_line(struct span *text, struct span *ret_line, unsigned *line)
{
    if (text->len == 0)
        return false;
    const uint8_t *end = memchr(text->data, '\n', text->len);
    size_t len = end ? (size_t)(end - text->data) : text->len;
    *ret_line = span_of(text->data, len);
    *text = span_of(text->data + len + (end != NULL), text->len - len - (end != NULL));
    while (ret_line->len && strchr(" \t\r", ret_line->data[ret_line->len - 1]) &&
           ret_line->data[ret_line->len - 1])
        ret_line->len--;
    ++*line;
    return true;
}

static struct span trim(struct span text)
{
    while (text.len && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = span_of(text.data + 1, text.len - 1);
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool password_split(struct span line, struct span *ret_user, struct span *ret_stored)
{
    line = trim(line);
    const uint8_t *colon = line.len && line.data[0] != '#' ? memchr(line.data, ':', line.len)
                                                           : NULL;
    if (!colon)
        return false;
    size_t len = (size_t)(colon - line.data);
    *ret_user = trim(span_of(line.data, len));
    *ret_stored = trim(span_of(colon + 1, line.len - len - 1));
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
    struct password_file *file;
    const char *name;
    struct problems *problems;
    unsigned line;
};

static void refuse(const struct reading *r, struct span user, const char *what, const char *cure)
{
    char quoted[LOG_QUOTE_MAX];
    log_quote(quoted, sizeof quoted, (const char *)user.data, user.len);
    problems_add(r->problems, PROBLEM_ERROR, r->name, r->line, "the password of \"%s\" %s%s%s",
                 quoted, what, cure ? cure : "", cure ? r->name : "");
}

static void read_line(const struct reading *r, struct span line)
{
    struct span user, stored;
    struct password_hash hash;
    if (trim(line).len == 0 || trim(line).data[0] == '#')
        return;
    if (!password_split(line, &user, &stored) || user.len == 0) {
        problems_add(
            r->problems, PROBLEM_ERROR, r->name, r->line,
            "a line must read user:password, the password as \"noctule passwd\" writes it");
        return;
    }
    if (user.len > USER_MAX || !log_is_printable((const char *)user.data, user.len)) {
        problems_add(r->problems, PROBLEM_ERROR, r->name, r->line,
                     "the user name is too long, or not printable UTF-8");
        return;
    }
    if (!password_is_hashed(stored)) {
        refuse(r, user, "is not hashed; to hash all of them, run: noctule passwd -U ", "");
        return;
    }
    const char *why = password_hash_parse(stored, &hash);
    if (why) {
        refuse(r, user, why, NULL);
        return;
    }
    struct entry *entry = add(r->file, user);
    if (entry->line) {
        char quoted[LOG_QUOTE_MAX];
        problems_add(r->problems, PROBLEM_WARNING, r->name, r->line,
                     "\"%s\" is given again; this replaces line %u",
                     log_quote(quoted, sizeof quoted, (const char *)user.data, user.len),
                     entry->line);
    }
    entry->line = r->line;
    entry->hash = hash;
}

struct password_file *password_file_parse(struct span text, const char *name,
                                          struct problems *problems)
{
    static const uint8_t mark[3] = { 0xef, 0xbb, 0xbf }; /* some editors begin a file with it */
    size_t errors = problems->errors;
    struct reading r = { .name = name, .problems = problems };
    struct span line;
    r.file = must_have(calloc(1, sizeof *r.file));
    atomic_init(&r.file->references, 1);
    if (text.len >= sizeof mark && memcmp(text.data, mark, sizeof mark) == 0)
        text = span_of(text.data + sizeof mark, text.len - sizeof mark);
    while (password_line(&text, &line, &r.line))
        read_line(&r, line);
    if (problems->errors == errors)
        return r.file;
    password_file_unref(r.file);
    return NULL;
}

struct password_file *password_file_load(const char *path, struct problems *problems)
{
    struct password_file *result = NULL;
    struct stat status;
    size_t len = 0;
    char *text = whole_file_read(path, FILE_BYTES_MAX, &len);
    if (!text)
        problems_add(problems, PROBLEM_ERROR, path, 0, "the password file cannot be read: %s",
                     strerror(errno));
    else
        result = password_file_parse(span_of(text, len), path, problems);
    if (text && stat(path, &status) == 0 && status.st_mode & S_IROTH)
        problems_add(problems, PROBLEM_WARNING, path, 0,
                     "everybody on this machine can read the passwords' digests; chmod o-r is "
                     "enough");
    free(text);
    return result;
}
