/* SPDX-License-Identifier: MIT */
/* See whole_file.h. It owns nothing that outlives the call. */
#include "broker/whole_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "broker/alloc.h"

enum { CHUNK = 64 * 1024 };

/* Room for more bytes, in memory of its own: what was read may be a secret and is not left behind. */
static char *widen(char *text, size_t len, size_t room)
{
    char *wider = must_have(malloc(room));
    memcpy(wider, text, len);
    OPENSSL_cleanse(text, len);
    free(text);
    return wider;
}

static char *read_all(FILE *file, size_t max, size_t *ret_len)
{
    size_t room = max < CHUNK ? max + 1 : CHUNK, len = 0, got;
    char *text = must_have(malloc(room));
    while ((got = fread(text + len, 1, room - len, file)) > 0) {
        len += got;
        if (len < room)
            continue;
        if (len > max)
            break;
        room = room > max / 2 ? max + 1 : room * 2;
        text = widen(text, len, room);
    }
    if (!ferror(file) && len <= max) {
        *ret_len = len;
        return text;
    }
    if (!ferror(file))
        errno = EFBIG;
    free(text);
    return NULL;
}

char *whole_file_read(const char *path, size_t max, size_t *ret_len)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return NULL;
    setvbuf(file, NULL, _IONBF, 0); /* no second copy in a buffer */
    char *text = read_all(file, max, ret_len);
    int error = errno;
    fclose(file);
    errno = error;
    return text;
}
