/* SPDX-License-Identifier: MIT */
/*
 * The folder of the LMDB store and the file in it: who may use it, its
 * tables, and single rows. Owns the descriptors and the environment. The thread that opens the
 * store, then the writer.
 *
 *   owner      locked while a broker runs; holds its process id
 *   data.mdb   everything      lock.mdb   LMDB's own
 */
#include "broker/store/lmdb_state.h"

#include "broker/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    LOOK_EVERY = 1000,         /* milliseconds between looks at the free space */
    READ_AHEAD = 1024 * 1024,  /* bytes that are asked for at once */
    MAP_SIZE_MIN = 1024 * 1024 /* bytes */
};

static const size_t map_size_preset = (size_t)1 << 30;

int store_error(int rc)
{
    static const struct {
        int rc, error;
    } errors[] = {
        { MDB_SUCCESS, 0 },
        { MDB_NOTFOUND, -ENOENT },
        { MDB_KEYEXIST, -EEXIST },
        { MDB_MAP_FULL, -EOVERFLOW },
        { MDB_TXN_FULL, -E2BIG },
        { MDB_PANIC, -ENOTRECOVERABLE },
        { MDB_VERSION_MISMATCH, -ENOTSUP },
        { MDB_CORRUPTED, -EBADMSG },
        { MDB_PAGE_NOTFOUND, -EBADMSG },
        { MDB_INVALID, -EBADMSG },
        { MDB_INCOMPATIBLE, -EBADMSG },
    };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].rc == rc)
            return errors[i].error;
    return rc > 0 ? -rc : -EIO;
}

/* ---- the folder ---- */

static int lock_folder(struct lmdb_store *store)
{
    char pid[32];
    store->lock_file = openat(store->folder, "owner", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_file < 0)
        return -errno;
    if (flock(store->lock_file, LOCK_EX | LOCK_NB) < 0) {
        ssize_t len = read(store->lock_file, pid, sizeof pid - 1);
        char quoted[LOG_QUOTE_MAX];
        log_emit(LEVEL_ERROR, "The store %s is in use by another broker (process %s).", store->path,
                 log_quote(quoted, sizeof quoted, pid, len > 0 ? (size_t)len : 0));
        return -EBUSY;
    }
    int len = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(store->lock_file, 0) < 0 || pwrite(store->lock_file, pid, (size_t)len, 0) < 0)
        return -errno;
    return 0;
}

int folder_open(struct lmdb_store *store)
{
    store->folder = store->lock_file = -1;
    int rc = mkdir(store->path, 0700) < 0 && errno != EEXIST ? -errno : 0;
    if (rc == 0) {
        store->folder = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = store->folder < 0 ? -errno : lock_folder(store);
    }
    if (rc == 0)
        return 0;
    if (rc != -EBUSY)
        log_emit(LEVEL_ERROR, "The store cannot use the folder %s: %s.", store->path,
                 strerror(-rc));
    folder_close(store);
    return rc;
}

void folder_close(struct lmdb_store *store)
{
    if (store->lock_file >= 0)
        close(store->lock_file);
    if (store->folder >= 0)
        close(store->folder);
    store->lock_file = store->folder = -1;
}

/* Not when it is so large that its beginning would be gone again when its end is read. */
void folder_read_ahead(const struct lmdb_store *store)
{
    struct stat data;
    int file = openat(store->folder, "data.mdb", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    off_t memory = (off_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (fstat(file, &data) == 0 && data.st_size < memory / 2)
        for (off_t at = 0; at < data.st_size; at += READ_AHEAD)
            (void)posix_fadvise(file, at, READ_AHEAD, POSIX_FADV_WILLNEED);
    close(file);
}

bool folder_is_low(struct lmdb_store *store, uint64_t now)
{
    struct statvfs disk;
    if (store->options.min_free == 0 || (store->looked && now < store->looked + LOOK_EVERY))
        return store->low;
    store->looked = now ? now : 1;
    store->low = fstatvfs(store->folder, &disk) == 0 &&
                 (uint64_t)disk.f_bavail * disk.f_frsize < store->options.min_free;
    return store->low;
}

/* ---- the file ---- */

static int read_meta(struct lmdb_store *store)
{
    MDB_txn *txn;
    struct span body = { .len = 0 };
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return store_error(rc);
    rc = store_error(mdb_dbi_open(txn, table_name(TABLE_META), 0, &store->dbi[TABLE_META]));
    if (rc == 0)
        rc = row_get(store, txn, TABLE_META, span_str("store"), &body);
    if (rc == 0 && !meta_decode(body, &store->meta))
        rc = -EBADMSG;
    mdb_txn_abort(txn);
    return rc;
}

static int make_tables(struct lmdb_store *store)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc)
        return store_error(rc);
    for (int table = 0; table < TABLES && rc == 0; table++) {
        bool old = table == TABLE_RETAINED_1;
        store->dbi[table] = 0;
        rc = mdb_dbi_open(txn, table_name((enum table)table), old ? 0 : MDB_CREATE,
                          &store->dbi[table]);
        if (old && rc == MDB_NOTFOUND)
            rc = 0;
    }
    if (rc == 0) {
        pack_note(store, &store->messages, txn);
        pack_note(store, &store->retained.reaper, txn);
    }
    rc = rc ? store_error(rc) : meta_write(store, txn);
    if (rc == 0)
        return store_error(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return rc;
}

/*
 * LMDB's own flags for durability: two flushes a commit. With MDB_NOMETASYNC it would be one, but a
 * commit would be durable only with the next one, and with a third flush when none follows. That
 * halves what a commit of one message costs, and nothing from a hundred on (measured: 1.35 against
 * 1.2 to 1.4 microseconds a message), where it matters; so it is not worth a second kind of "written".
 */
static int prepare_env(struct lmdb_store *store)
{
    struct stat file;
    size_t size = store->options.map_size ? store->options.map_size : map_size_preset;
    if (size < MAP_SIZE_MIN)
        size = MAP_SIZE_MIN;
    if (fstatat(store->folder, "data.mdb", &file, 0) == 0)
        while (size < (size_t)file.st_size * 2)
            size *= 2;
    if (store->map_size > size)
        size = store->map_size;
    int rc = mdb_env_create(&store->env);
    if (rc)
        return store_error(rc);
    if ((rc = mdb_env_set_maxdbs(store->env, TABLES)) ||
        (rc = mdb_env_set_mapsize(store->env, size)) ||
        (rc = mdb_env_open(store->env, store->path, MDB_NOTLS | MDB_NORDAHEAD, 0600))) {
        env_close(store);
        return store_error(rc);
    }
    store->map_size = size;
    (void)mdb_reader_check(store->env, NULL);
    return 0;
}

int env_open(struct lmdb_store *store)
{
    int rc = prepare_env(store);
    if (rc)
        return rc;
    rc = read_meta(store);
    if (rc == -ENOENT) {
        store->meta = (struct meta_row){ .version = STORE_VERSION };
        store->options.random(&store->meta.seed, sizeof store->meta.seed);
        rc = 0;
    }
    if (rc == 0) {
        store->meta.version = STORE_VERSION;
        store->meta.starts++;
        rc = make_tables(store);
    }
    if (rc)
        env_close(store);
    return rc;
}

void env_close(struct lmdb_store *store)
{
    if (store->env)
        mdb_env_close(store->env);
    store->env = NULL;
}

int env_grow(struct lmdb_store *store)
{
    if (store->map_size > SIZE_MAX / 4)
        return -EFBIG;
    int rc = mdb_env_set_mapsize(store->env, store->map_size * 2);
    if (rc)
        return store_error(rc);
    store->map_size *= 2;
    log_emit(LEVEL_INFORMATION, "The store may now grow to %zu MB.", store->map_size >> 20);
    return 0;
}

/* ---- rows ---- */

int row_put(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key,
            struct span body)
{
    MDB_val k = val_of(key.data, key.len), value = val_of(NULL, ROW_HEAD + body.len);
    int rc = mdb_put(txn, store->dbi[table], &k, &value, MDB_RESERVE);
    if (rc)
        return store_error(rc);
    uint8_t *row = value.mv_data;
    put_span(row + ROW_HEAD, body);
    row_seal(key, row, value.mv_size);
    return 0;
}

int row_get(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key,
            struct span *ret_body)
{
    MDB_val k = val_of(key.data, key.len), value;
    int rc = mdb_get(txn, store->dbi[table], &k, &value);
    if (rc)
        return store_error(rc);
    return row_open(key, span_val(value), ret_body) ? 0 : -EBADMSG;
}

int row_delete(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key)
{
    MDB_val k = val_of(key.data, key.len);
    int rc = mdb_del(txn, store->dbi[table], &k, NULL);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

int row_remove(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn, uint64_t number)
{
    uint8_t bytes[8];
    MDB_cursor *cursor;
    put_u64(bytes, number);
    int rc = mdb_cursor_open(txn, store->dbi[reaper->table], &cursor);
    if (rc)
        return store_error(rc);
    MDB_val key = val_of(bytes, sizeof bytes), value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET);
    if (rc == 0) {
        pack_count(&reaper->pack, &reaper->pack.deleted, value.mv_size,
                   reaper->table == TABLE_MESSAGE ? row_payload(span_val(value)) : 0);
        rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

int meta_write(struct lmdb_store *store, MDB_txn *txn)
{
    uint8_t body[META_BODY];
    uint32_t slot = atomic_load(&store->store.last_slot);
    uint64_t sequence = atomic_load(&store->store.last_sequence);
    if (slot > store->meta.last_slot)
        store->meta.last_slot = slot;
    if (sequence > store->meta.last_sequence)
        store->meta.last_sequence = sequence;
    meta_encode(&store->meta, body);
    return row_put(store, txn, TABLE_META, span_str("store"), span_of(body, sizeof body));
}
