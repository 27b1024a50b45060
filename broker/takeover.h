/* SPDX-License-Identifier: MIT */
/*
 * A CONNECT claims its session, asynchronously: from the session table when nobody has it, else
 * from the worker that owns it. The owner ends the old connection, names the new owner, puts up a
 * fence, and then hands the session over, when the store has finished what the owner has recorded
 * of it. So nothing is lost, doubled or reordered, and two connections of one client are never
 * served at once. Several claims queue at whoever is the owner.
 *
 *     claimant B            owner A                    others
 *     claim ───────────────► ends the connection
 *                            owner = B ── fence ──────► answer, after what they had posted to A
 *     holds what arrives     queues what still arrives
 *     attach ◄────────────── hand-over
 */
#pragma once

#include "broker/list.h"
#include "broker/worker_state.h"

struct claim {
    struct list node;        /* in `waiting` of the claim that the session arrives for */
    struct fence fence;      /* first the owner's */
    struct worker *worker;   /* (i) the claimant's */
    struct conn *conn;       /* (claimant) NULL: it has gone meanwhile */
    struct session *session; /* what is claimed */
    bool clean_start;        /* (i) */
    uint32_t ended_slot;     /* of the session that ended for it, 0 none */
    bool retry;              /* the owner's answer: the session has ended, ask the table again */
    struct list waiting;    /* (claimant) CONNECTs for the session while it is on its way, `node` */
    struct deliveries held; /* (claimant) what reached it before the session did */
    uint32_t client_id_len; /* (i) */
    uint8_t client_id[];    /* (i) */
};

/* Claims the session `client_id` for a connection; conn_claimed() or conn_refuse() is called,
 * maybe before this returns. */
void claim_start(struct conn *conn, struct span client_id, uint64_t now);
/* The connection has gone. */
void claim_abandon(struct claim *claim);

/* Mail handlers: on the owner, and on the claimant. */
void claim_at_owner(struct worker *worker, struct claim *claim, uint64_t now);
void claim_answered(struct worker *worker, struct claim *claim, uint64_t now);
/* The broker ends while the session is on its way. */
void takeover_forget(struct session *session);
/* A delivery that reached this worker for a session: offered, held or passed on. */
void takeover_deliver(struct worker *worker, struct session *session, struct delivery *delivery,
                      uint64_t now);
