# SPDX-License-Identifier: MIT
"""The rules that tests/controls/run switches off, each at the level where that is cheapest."""

import collections

Rule = collections.namedtuple("Rule", "file text instead unit end_to_end")


def unit(file, text, instead, *tests):
    """Each of these must fail: `program`, or `program:part of a test's name`."""
    return Rule(file, text, instead, ["broker_test_" + test for test in tests], [])


def end_to_end(file, text, instead, *tests):
    return Rule(file, text, instead, [], list(tests))


RULES = {
    # ---- the fence --------------------------------------------------------------------------------
    "a session is handed over after the fence": unit(
        "broker/takeover.c",
        "        fence_start(worker, &claim->fence, now);",
        "        claim->fence.worker = worker; hand_over(&claim->fence, now);",
        "takeover", "interleavings:takeover"),
    "a session is freed after the fence": unit(
        "broker/session.c",
        "    fence_start(worker, &funeral->fence, now);",
        "    funeral->fence.worker = worker; bury(&funeral->fence, now);",
        "interleavings:session_end"),
    "a group is freed after the fence": unit(
        "broker/group_member.c",
        "    fence_start(worker, &group->fence, now);",
        "    bury(&group->fence, now);",
        "interleavings:session_end"),
    "the answer to a fence goes behind what was collected": unit(
        "broker/worker.c",
        "    worker_post(worker, fence->worker,\n"
        "                &(struct mail){ .kind = MAIL_FENCE_ANSWER, .target = fence });",
        "    worker_post_now(fence->worker,\n"
        "                &(struct mail){ .kind = MAIL_FENCE_ANSWER, .target = fence }, 1);",
        "interleavings"),

    "a frame for version 5 is as long as it says": end_to_end(
        "broker/conn_out.c",
        "    for (; body_len > 0x7F; body_len >>= 7)",
        "    for (; body_len > 0x80; body_len >>= 7)",
        "wire.every_length"),

    # ---- logins -----------------------------------------------------------------------------------
    "a password that is right for somebody else lets in nobody": unit(
        "broker/auth/pool.c",
        "verdict == PASSWORD_RIGHT && login->known",
        "verdict == PASSWORD_RIGHT",
        "login:somebody_else"),
    "a password is computed for an unknown user as well": unit(
        "broker/auth/login.c",
        "        login->stored = password_file_decoy(passwords, login_user(login));",
        "        login->stored = NULL;",
        "login:told_the_same"),
    "what was right for another stored password is not remembered": unit(
        "broker/auth/remembered.c",
        "                EVP_MAC_update(context, (const uint8_t *)stored, sizeof *stored) == 1 &&\n",
        "                stored &&\n",
        "login:reload_ends"),
    "what was found out before a reload is void": unit(
        "broker/auth/login.c",
        "    if (is_void(conn, login))",
        "    if (0 && is_void(conn, login))",
        "login:reload_holds", "login:takes_away"),
    "a reload ends who has another password now": unit(
        "broker/auth/login.c",
        "return stored && fingerprint(stored) == conn->credential;",
        "return stored && fingerprint(stored);",
        "login:reload_ends"),
    "a reload ends who was let in by a key that is gone": unit(
        "broker/auth/login.c",
        "        return jwt_rules_have_key(listener->jwt, conn->credential);",
        "        return jwt_rules_have_key(listener->jwt, conn->credential) || 1;",
        "login:takes_away"),
    "a stranger who sends much is left unread": unit(
        "broker/conn.c",
        "(conn->login ? HELD_STRANGER : HELD_MAX)",
        "HELD_MAX",
        "login:sends_much"),
    "the queue of logins has a bound": unit(
        "broker/auth/pool.c",
        "    bool room = pool->waiting < queue_max &&",
        "    bool room = (pool->waiting < queue_max || 1) &&",
        "login:beyond_the_queue"),
    "hashing stays below memory_limit": unit(
        "broker/auth/pool.c",
        "    if (!has_memory(pool, memory))",
        "    if (0 && !has_memory(pool, memory))",
        "login:exceed_the_memory_limit"),
    "a user name without a proof is nobody's": unit(
        "broker/auth/login.c",
        "    if (tokens && (connect->has_username || connect->has_password))",
        "    if (0 && tokens)",
        "login:only_proof"),
    "a token ends its connection": unit(
        "broker/conn.c",
        "    if (conn->expires_at && conn->expires_at <= now) {",
        "    if (0) {",
        "login:when_it_expires"),
    "a token does not choose its algorithm": unit(
        "broker/auth/jwt.c",
        "        if (strcmp(algorithm, jwt_key_algorithm(rules->keys[i])) != 0 ||",
        "        if (!algorithm ||",
        "jwt:choose"),
    "a token that demands extensions is refused": unit(
        "broker/auth/jwt.c",
        "    if (json_object_get(head, \"crit\"))",
        "    if (0)",
        "jwt:choose"),
    "a claim that is there twice is refused": unit(
        "broker/auth/jwt.c",
        "JSON_REJECT_DUPLICATES",
        "0",
        "jwt:user_name"),
    "a token without topics allows none": unit(
        "broker/auth/token_rules.c",
        "    if (!claims->has_filters)",
        "    if (!claims->filter_count)",
        "login:names_no_topic"),
    "Base64 has one spelling": unit(
        "broker/auth/base64.c",
        "    if (bits & ((1u << held) - 1))",
        "    if (0)",
        "password_hash:one_spelling"),

    # ---- takeover ---------------------------------------------------------------------------------
    "what arrives before the session is held for it": unit(
        "broker/takeover.c",
        "if (owner == worker && session->arriving)",
        "if (0)",
        "takeover", "interleavings:takeover"),
    "what still arrives at the old owner goes along": unit(
        "broker/takeover.c",
        "else if (owner == worker || session->phase == SESSION_LEAVING)",
        "else if (owner == worker)",
        "takeover", "interleavings:takeover"),
    "claims queue at a session that is on its way": unit(
        "broker/takeover.c",
        "    if (session->arriving) {",
        "    if (0) {",
        "takeover", "interleavings"),
    "the old connection ends before the session goes": unit(
        "broker/takeover.c",
        "session->phase == SESSION_ACTIVE && session->conn",
        "0",
        "takeover", "interleavings:takeover"),
    "unreleased packet identifiers are remembered": unit(
        "broker/conn_in.c",
        "    if (!id_set_has(session->qos2_ids, publish->id))",
        "    (void)id_set_remove(&session->qos2_ids, publish->id); /* so that there is room for it */\n    if (true)",
        "takeover", "interleavings:takeover", "store_seam"),

    # ---- offer ------------------------------------------------------------------------------------
    "overlapping subscriptions are one delivery": unit(
        "broker/router.c",
        "            if (found->at[end].subscriber != found->at[first].subscriber)\n"
        "                break;",
        "            break;",
        "router"),
    "of the highest QoS": unit(
        "broker/router.c",
        "(a & MQTT_SUB_QOS) > (b & MQTT_SUB_QOS) ? a & MQTT_SUB_QOS :",
        "",
        "router"),
    "with all subscription identifiers": unit(
        "broker/router.c",
        "        hit.ids = sub_ids_new(ids, id_count);",
        "        hit.sub_id = ids[0];",
        "router"),
    "with the retain flag if any of them wants it": unit(
        "broker/router.c",
        "((a | b) & MQTT_SUB_RETAIN_AS_PUBLISHED)",
        "(b & MQTT_SUB_RETAIN_AS_PUBLISHED)",
        "router"),
    "without those with No Local": unit(
        "broker/router.c",
        "if (skip && (entries[i].options & MQTT_SUB_NO_LOCAL))",
        "if (0)",
        "router"),
    "a change of subscriptions makes cached matches stale": unit(
        "broker/match_cache.c",
        "known = match_cache_at(cache, *place, generation);",
        "known = match_cache_slot(cache, *place)->result;",
        "router", "interleavings:session_end"),
    "a topic that comes once pushes no match out": unit(
        "broker/match_cache.c",
        "    if (!cache->again) {",
        "    if (0) {",
        "router:comes_once"),
    "also that of a publisher's last topic": unit(
        "broker/conn_in.c",
        "match_cache_at(worker->matches, conn->last_topic, generation);",
        "match_cache_slot(worker->matches, conn->last_topic)->result;\n    (void)generation;",
        "router"),
    "a receiver that the store keeps is not a plain one": unit(
        "broker/router.c",
        "hit->kind == TREE_SESSION && !hit->slot && !hit->ids &&",
        "hit->kind == TREE_SESSION && !hit->ids &&",
        "store_seam", "restore:qos1"),
    "nor one with No Local": unit(
        "broker/router.c",
        "hit->condition == HIT_ALWAYS && !(hit->options & ENTRY_ASK)",
        "!(hit->options & ENTRY_ASK)",
        "router"),
    "nor one that has to be asked about": unit(
        "broker/router.c",
        "hit->condition == HIT_ALWAYS && !(hit->options & ENTRY_ASK)",
        "hit->condition == HIT_ALWAYS",
        "access:messages_reach"),
    "where there are rules no delivery is easy": unit(
        "broker/session.c",
        "session->phase == SESSION_ACTIVE && !worker->guarded &&",
        "session->phase == SESSION_ACTIVE &&",
        "access:outrun"),
    "nor one that comes behind what is on the disk": unit(
        "broker/session.c",
        "!worker->guarded && !session_tail(session) &&",
        "!worker->guarded &&",
        "paging"),
    "a queue that is not short has its limits looked at": unit(
        "broker/session.c",
        "return session->queue.count < worker->easy_queue && session->conn",
        "return session->conn",
        "session", "brake", "paging"),

    "a bridge gets nothing of its own back": unit(
        "broker/conn_in.c",
        "        options |= MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED;",
        "        options |= MQTT_SUB_RETAIN_AS_PUBLISHED;",
        "subscribe:bridge_bit"),
    "and keeps the retain flag": unit(
        "broker/conn_in.c",
        "        options |= MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED;",
        "        options |= MQTT_SUB_NO_LOCAL;",
        "subscribe:bridge_bit"),

    # ---- the ready list ---------------------------------------------------------------------------
    "a connection is on the ready list once": unit(
        "broker/worker.c",
        "    if (!list_linked(&conn->ready_node))\n",
        "",
        "publish"),
    "an empty queue does not decide about the ready list": unit(
        "broker/worker.c",
        "    if (!list_linked(&conn->ready_node))\n",
        "    if (!list_linked(&conn->ready_node) &&\n"
        "        !(conn->session && conn->session->queue.count > 1))\n",
        "session"),

    # ---- retained ---------------------------------------------------------------------------------
    "mail goes before a slice of retained messages": unit(
        "broker/retained.c",
        "    worker_take_in(worker);\n",
        "",
        "retained"),

    "the fetch of a filter is found by its hash": end_to_end(
        "broker/retained.c",
        "    if (fetches->count >= fetches->room * LONG_CHAIN)",
        "    if (0)",
        "cost.a_hundred_thousand_filters-True"),

    # ---- shared groups ----------------------------------------------------------------------------
    "a member that is full is passed over": unit(
        "broker/group.c",
        "if (++member->outstanding < member->places)",
        "if (++member->outstanding, true)",
        "group:full_member_is_passed"),
    "a member that stays full is passed over": unit(
        "broker/group.c",
        "member->outstanding < member->places;",
        "member->places > 0;",
        "group:full_of_other"),
    "a member's room is what the rest of its session leaves": unit(
        "broker/group_member.c",
        "return others < window ? window - others : 0;",
        "return others < window ? window : window;",
        "group:full_of_other", "group:full_of_another"),
    "what a leaving member has not acknowledged goes to another": unit(
        "broker/session.c",
        "    give_back(worker, session);",
        "    (void)give_back;",
        "group", "group_interleavings:each_message"),
    "a QoS 2 delivery that has begun stays with its session": unit(
        "broker/session.c",
        "entry->delivery.flags & DELIVERY_SHARED && !begun;",
        "entry->delivery.flags & DELIVERY_SHARED && (!begun || entry->delivery.message);",
        "group:qos2", "group_interleavings:each_message"),
    "what comes for a member that has gone goes back": unit(
        "broker/session.c",
        "if (delivery->flags & DELIVERY_SHARED && (offline || session->phase != SESSION_ACTIVE))",
        "if (0)",
        "group_interleavings:each_message"),
    "what waits at a group goes first": unit(
        "broker/group.c",
        "group->queue.count == 0 ? pick(",
        "true ? pick(",
        "group_interleavings:order"),
    "a member's granted QoS holds": unit(
        "broker/group.c",
        "delivery->qos < granted ? delivery->qos : granted",
        "delivery->qos",
        "group:granted_qos"),
    "a message that was refused goes to nobody else": unit(
        "broker/conn_in.c",
        "if (move == RELEASE && reason >= MQTT_UNSPECIFIED_ERROR)\n        move = FINISH;",
        "if (reason >= MQTT_UNSPECIFIED_ERROR)\n        move = REJECT;",
        "group:refused", "group_interleavings:each_message"),
    "a group waits for members that are away": unit(
        "broker/group.c",
        "return group->online || (group->members &&",
        "return group->online || (0 &&",
        "group:persistent", "group_interleavings:each_message"),
    "a shared subscription gets no retained messages": unit(
        "broker/conn_in.c",
        "if (!shared && mark != ENTRY_DENIED",
        "if (mark != ENTRY_DENIED",
        "group:retained_message"),

    # ---- who may use which topics -----------------------------------------------------------------
    "what no rule allows is not published": unit(
        "broker/conn_in.c",
        "conn->worker->guarded && !access_may_publish(conn, publish->topic)",
        "false",
        "access:publish_that_no_rule"),
    "an answer is remembered for its topic alone": unit(
        "broker/auth/access.c",
        "span_equal(span_of(last->topic, last->topic_len), topic)",
        "true",
        "access:publish_is_decided"),
    "a will is asked about": unit(
        "broker/will.c",
        "    if (!access_may(worker, session, ACL_WRITE, message_topic(will))) {",
        "    if (0) {",
        "access:will"),
    "a message is asked about where its filter must be": unit(
        "broker/router.c",
        "(group ? 0 : hit->options & ENTRY_ASK)) };",
        "0) };",
        "access:messages_reach"),
    "an open filter is not asked about": unit(
        "broker/router.c",
        "        all &= entries[i].options;",
        "        all &= 0xff;",
        "access:open_subscription"),
    "what one filter denies no other gives": unit(
        "broker/router.c",
        "    return any & ENTRY_DENIED ? ENTRY_DENIED : all;",
        "    return all;",
        "access:matches_nothing"),
    "retained messages are asked about": unit(
        "broker/retained.c",
        "        if (job->ask)",
        "        if (false)",
        "access:retained"),
    "a retained message goes with its author's right": unit(
        "broker/retained.c",
        "        if (is_disowned(worker, message)) {",
        "        if (false && is_disowned(worker, message)) {",
        "access:retained_message_goes"),
    "new rules mark every filter anew": unit(
        "broker/auth/access.c",
        "        CONTAINER_OF(node, struct session, worker_node)->decided = 0;",
        "        (void)0;",
        "access:reload_holds"),
    "until then each message is asked about": unit(
        "broker/session.c",
        "!access_is_open(worker, session, delivery)",
        "delivery->flags & DELIVERY_ASK",
        "access:outrun"),
    "another user is asked about all": unit(
        "broker/auth/access.c",
        "        session->rules = ACCESS_UNDECIDED;",
        "        (void)0;",
        "access:another_user"),
    "what waits is asked about again": unit(
        "broker/auth/access.c",
        "    queue_mark(&session->queue, DELIVERY_ASK);",
        "    (void)0;",
        "access:waits_in_a_queue"),
    "what was sent is asked about again": unit(
        "broker/auth/access.c",
        "        inflight_at(inflight, place)->delivery.flags |= DELIVERY_ASK;",
        "        (void)0;",
        "access:sent_again"),
    "a group asks who may read": unit(
        "broker/group.c",
        "        if (may_read(worker, member, message))",
        "        if (true)",
        "access:group_chooses"),
    "a group waits only for somebody who may read": unit(
        "broker/group.c",
        "    if (!worker->guarded || !group->online)",
        "    if (true)",
        "access:group_chooses"),
    "a group decides anew under new rules": unit(
        "broker/group.c",
        "    bool decided = member->rules == worker->rules;",
        "    bool decided = member->rules != ACCESS_UNDECIDED;",
        "access:group_takes"),
    "a filter is open only where nothing is denied": unit(
        "broker/auth/acl.c",
        "    if (own.allows_all && !own.denies_any)",
        "    if (own.allows_all)",
        "acl:chance"),
    "a placeholder is no way around a wildcard": unit(
        "broker/auth/acl.c",
        "if (!acl->patterns || has_wildcard(client->user) || has_wildcard(client->client_id))",
        "if (!acl->patterns)",
        "acl:wildcard"),

    # ---- strangers --------------------------------------------------------------------------------
    "accept_rate is kept": end_to_end(
        "transport/gate.c",
        "        if (entry->bucket.credit < BUCKET_ONE)",
        "        if (0)",
        "strangers.connections_too_fast-True"),
    "max_connections_per_ip is kept": end_to_end(
        "transport/gate.c",
        "entry->connections >= config->max_connections_per_ip)",
        "entry->connections > UINT32_MAX - 1)",
        "strangers.connections_of_one_address-tcp-True"),
    "an address is banned by its failures": end_to_end(
        "transport/gate.c",
        "    if (entry->banned_until > now)",
        "    if (0)",
        "strangers.repeated_failures_end_in_a_ban-True-password"),
    "connect_timeout is kept": unit(
        "broker/conn.c",
        "    wheel_set(&worker->wheel, &conn->timer, now + (uint64_t)conn->config->connect_timeout * 1000);",
        "    (void)0;",
        "connect:too_late"),
    "max_packet_size is kept": unit(
        "broker/conn.c",
        "    if ((uint64_t)frame->header_len + frame->body_len <= conn->config->max_packet_size)",
        "    if (frame->header_len)",
        "publish_limits"),
    "what is no CONNECT is not waited for": end_to_end(
        "broker/conn.c",
        "    if (conn->partial || bytes.data[0] == MQTT_CONNECT << 4)",
        "    if (true)",
        "strangers.repeated_failures_end_in_a_ban-True-garbage"),
    "what is refused counts against its address": end_to_end(
        "transport/peer.c",
        "    blame(CONTAINER_OF(link, struct peer, link));",
        "    (void)link, (void)blame;",
        "strangers.repeated_failures_end_in_a_ban-True-password"),
    "clients do not count as strangers": end_to_end(
        "transport/acceptor.c",
        "server_connections(server) >= broker_clients(server->broker) + most",
        "server_connections(server) >= most",
        "strangers.crowd_that_is_not_let_in-tcp-True"),
    "a connection that has gone counts no more": end_to_end(
        "transport/peer.c",
        "    gate_leave(&peer->loop->server->gate, peer->gate);",
        "    (void)0;",
        "strangers.connections_of_one_address-tcp-True"),

    "nobody speaks for others but trusted proxies": end_to_end(
        "transport/acceptor.c",
        "    return networks_have(&config->proxies, &from);",
        "    return true;",
        "proxy.nobody_else_is_believed-tcp"),
    "nor in X-Forwarded-For": end_to_end(
        "transport/peer.c",
        "    return address_parse(host, &address) && networks_have(&peer->config->proxies, &address);",
        "    return true;",
        "origin.forwarded_client_is_who_a_trusted_proxy_saw-ws"),
    "limits are those of the forwarded client": end_to_end(
        "transport/peer.c",
        "    peer->gate = entry;\n    return !why;",
        "    peer->gate = entry;\n    return true;",
        "origin.limits_are_those_of_the_forwarded_client"),
    "a page that is not listed may not connect": end_to_end(
        "transport/http.c",
        "    if (!origin_allowed(wsi, origins)) {",
        "    if (false && !origin_allowed(wsi, origins)) {",
        "origin.pages_that_may_connect-ws"),
    "what follows the header of a proxy is the client's": end_to_end(
        "transport/waiting.c",
        "    size_t taken = (status == PROXY_DONE ? header.len : all) - waiting->len;",
        "    size_t taken = all - waiting->len;",
        "proxy.header_in_pieces-1"),

    "a client whose certificate is revoked is disconnected": end_to_end(
        "transport/loop.c",
        "    peers_review(loop);\n",
        "",
        "certificates.client_whose_certificate_is_revoked_is_disconnected_and_nobody_else-tcp-file"),
    "what is in a folder of authorities is looked at": end_to_end(
        "transport/certificates.c",
        "            watch_folder(certificates->watch_fd, listener->capath);",
        "            (void)0;",
        "certificates.folder_of_authorities_is_watched"),
    "a session keeps what its token allows": end_to_end(
        "broker/auth/access.c",
        "    record->restricted = principal->own != NULL;\n    if (principal->own)",
        "    if (0)",
        "tokens.topics_of_the_token_hold_over_a_restart-9"),
    "who has a session comes in when memory is tight": unit(
        "broker/conn_connect.c",
        "           !session_table_has(broker->table, client_id);",
        "           client_id.data;",
        "memory:none_who_has_a_session"),
    "a stranger may not send much when memory is scarce": unit(
        "broker/conn.c",
        "need > PARTIAL_STRANGER && level >= MEMORY_SHRINKING);",
        "need > PARTIAL_STRANGER && level > MEMORY_OUT);",
        "memory:stranger"),
    "who has none does not": unit(
        "broker/conn_connect.c",
        "    if (is_too_much(conn, client_id)) {",
        "    if (0 && is_too_much(conn, client_id)) {",
        "memory:none_who_has_a_session"),
    "what is on its way to a client is bounded when memory is scarce": unit(
        "broker/conn_out.c",
        "        max_bytes = memory_queue_bytes(memory);",
        "        max_bytes += 0;",
        "memory:on_its_way"),
    "memory that cannot be told is no plenty": unit(
        "broker/memory.c",
        "        return; /* it cannot be told just now: that is no plenty */",
        "        (void)0;",
        "memory:cannot_be_told"),

    "no WebSocket waits for the headers of others": end_to_end(
        "transport/loop.c",
        "        .retry_and_idle_policy = &no_pings,\n        .port",
        "        .max_http_header_pool2 = 512,\n        .port",
        "strangers.those_who_say_little_are_in_nobodys_way-ws-True"),
    "handshakes beyond the budget wait": end_to_end(
        "transport/acceptor.c",
        "        bool may = has_credit(socket);",
        "        bool may = true || has_credit(socket);",
        "strangers.more_handshakes_than_the_budget_wait_and_hold_up_nobody_else-tls-True"),
    "who is refused takes no handshake from the budget": end_to_end(
        "transport/acceptor.c",
        "        handshakes_begin(&listener->handshakes); /* who was refused has cost none */",
        "        (void)0;\n    handshakes_begin(&listener->handshakes);",
        "strangers.who_is_refused_by_his_address_takes_no_handshake_from_the_budget"),

    "the watchdog wants an answer of every worker": end_to_end(
        "transport/supervisor.c",
        "            *ret_hanging = i;\n            return false;",
        "            *ret_hanging = i;\n            return true;",
        "service.gives_no_sign_of_life_while_a_worker_hangs"),

    # ---- memory_limit -----------------------------------------------------------------------------
    "queues stop growing when memory is scarce": unit(
        "broker/worker.c",
        "           (memory_level(&worker->broker->memory) == MEMORY_PLENTY ||",
        "           (true ||",
        "memory:long_queues"),
    "new subscriptions are refused when it is tight": unit(
        "broker/conn_in.c",
        "    if (is_new && memory_of(conn) >= MEMORY_TIGHT)",
        "    if (0)",
        "memory:new_subscriptions"),
    "retained messages when it is tight, and publications at last": unit(
        "broker/conn_in.c",
        "    if (!clears && memory_of(conn) >= (publish->retain ? MEMORY_TIGHT : MEMORY_OUT))",
        "    if (0)",
        "memory:new_subscriptions", "memory:publications"),
    "what is not complete may not grow when it is tight": unit(
        "broker/conn.c",
        "    return (need > PARTIAL_TIGHT && level >= MEMORY_TIGHT) ||",
        "    return",
        "memory:incomplete"),

    # ---- quotas -----------------------------------------------------------------------------------
    "byte_rate is kept": unit(
        "broker/quota.c",
        "    charge(&conn->quota->bytes_due, piece.len, worker->config->byte_rate, now);",
        "    (void)0;",
        "quota:rate_of_bytes"),
    "max_subscriptions is kept": unit(
        "broker/quota.c",
        "conn->session->subscription_count >= most)",
        "conn->session->subscription_count > UINT32_MAX - 1)",
        "quota:subscriptions"),
    "max_topic_levels is kept": unit(
        "broker/quota.c",
        "    return levels <= most;",
        "    return levels > 0;",
        "quota:levels"),
    "max_retained_messages is kept": unit(
        "broker/quota.c",
        "    return !most || ",
        "    return true || !most || ",
        "quota:retained"),
    "who sends too fast is left unread": unit(
        "broker/conn.c",
        "conn_is_behind(conn) || quota_waits(conn) ||",
        "conn_is_behind(conn) ||",
        "quota:rate_of_messages"),
    "no more is saved up than a second's worth": unit(
        "broker/quota.c",
        "    if (*due < earliest)\n        *due = earliest;",
        "    (void)earliest;",
        "quota:saves_up"),
    "a message that clears or replaces is not one more": unit(
        "broker/quota.c",
        " || retained_has(retained, topic);",
        ";",
        "quota:retained"),
    "a retained will counts": unit(
        "broker/will.c",
        "    if (will->payload_len == 0 || quota_retains(worker, message_topic(will)))",
        "    if (will->payload_len == 0 || quota_retains(worker, message_topic(will)) || true)",
        "quota:retained_wills"),
    "replacing a subscription is always possible": unit(
        "broker/quota.c",
        "    if (is_new && most && conn->session",
        "    if (most && conn->session",
        "quota:subscriptions"),

    "the text of subscriptions that have gone is given back": unit(
        "broker/subscription.c",
        "        close_gaps(session);",
        "        all->gaps = 0;",
        "subscription:come_and_go"),

    # ---- acknowledgements and the store -----------------------------------------------------------
    "answers leave in their order, each when its condition holds": unit(
        "broker/conn_out.c",
        "        if (reply->wait > conn->worker->durable)\n            break;\n",
        "",
        "store_seam"),
    "a message that was refused is forgotten": unit(
        "broker/conn_out.c",
        "        worker_forget_pending(conn->worker, conn->session, after, upto);",
        "        (void)0;",
        "store_seam"),
    "what cannot say no never leaves": unit(
        "broker/conn_out.c",
        "    reply->wait = can ? 0 : UINT64_MAX;",
        "    reply->wait = 0;",
        "store_seam"),
    "what waits for a store that is late is refused in time": unit(
        "broker/worker.c",
        "    late_watch(worker, now);\n",
        "",
        "store_seam:late"),
    "a client is left unread at its limit": unit(
        "broker/conn_out.c",
        "return stuck && line->count >= limit;",
        "return stuck && line->count >= limit && 0;",
        "store_seam:unread"),
    "keep-alive stands still while a client is left unread": unit(
        "broker/conn.c",
        "if (conn->keep_alive == 0 || conn->paused)",
        "if (conn->keep_alive == 0)",
        "store_seam:unread"),

    # ---- what is acknowledged is durable ----------------------------------------------------------
    "PUBACK waits for the commit of the message": unit(
        "broker/conn_in.c",
        "    *ret_wait = route.wait;",
        "    *ret_wait = 0;",
        "store_seam", "restore:qos1", "crash", "crash_points"),
    "PUBREC waits for the commit of the message": unit(
        "broker/conn_in.c",
        "MQTT_PUBREC, publish.id, reason, wait);",
        "MQTT_PUBREC, publish.id, reason, publish.qos == 2 ? 0 : wait);",
        "store_seam", "restore:qos2", "crash", "crash_points"),
    "PUBCOMP waits until the identifier is out of the store": unit(
        "broker/conn_in.c",
        "    conn_reply_ack(conn, MQTT_PUBCOMP, ack.id, reason, wait);",
        "    conn_reply_ack(conn, MQTT_PUBCOMP, ack.id, reason, 0);",
        "store_seam", "restore:pubcomp", "crash", "crash_points"),
    "a PUBLISH of QoS 2 waits until its identifier is durable": unit(
        "broker/conn_out.c",
        "    entry->wait = (uint32_t)durable_outbound(worker, session, entry, id);",
        "    (void)durable_outbound(worker, session, entry, id);",
        "restore:identifier", "crash", "crash_points"),
    "an identifier that the store did not take is stored before it is used": unit(
        "broker/conn_out.c",
        "    if (entry->again)\n",
        "    if (0 && entry->again)\n",
        "restore:not_stored", "crash:failing"),
    "what is behind an identifier that was not stored is stored behind it": unit(
        "broker/conn_out.c",
        "        if (!entry->again)\n            durable_outbound_end(conn->worker, session, entry, id);\n",
        "",
        "restore:follows_an_identifier"),
    "what a takeover carries along is stored as well when it was not before": unit(
        "broker/worker.c",
        "        mark_not_stored(&worker->leaving, before, durable);\n",
        "",
        "restore:before_a_takeover"),
    "a message whose receivers could not be written is waited for": unit(
        "broker/store/lmdb_reader.c",
        "(written || !row.unrouted)",
        "(written || true)",
        "lmdb_reader:routed_late"),
    "PUBREL waits until the PUBREC is durable": unit(
        "broker/conn_in.c",
        "    conn_reply_ack(conn, MQTT_PUBREL, id, MQTT_SUCCESS, wait);",
        "    conn_reply_ack(conn, MQTT_PUBREL, id, MQTT_SUCCESS, 0);",
        "store_seam", "restore:pubrec", "crash", "crash_points"),
    "CONNACK waits for the session": unit(
        "broker/conn_connect.c",
        "    uint64_t wait = store_connect(conn, session);",
        "    (void)store_connect(conn, session);\n    uint64_t wait = 0;",
        "store_seam", "restore:connack", "restore:clean_start"),
    "SUBACK and UNSUBACK wait for the subscription": unit(
        "broker/conn_in.c",
        "    return session_kept_slot(conn->session) ? worker_position(conn->worker) : 0;",
        "    return session_kept_slot(conn->session) ? 0 : 0;",
        "store_seam", "restore:subscriptions", "restore:unsuback"),
    "a batch goes to the store before the mail that depends on it": unit(
        "broker/worker.c",
        "        worker_submit(worker); /* what others do because of this mail is durable after it */",
        "",
        "restore:batch"),
    "a delivery that has ended is done for the store": unit(
        "broker/durable.c",
        "    *worker_store_room(worker, 0) = (struct store_op){ .kind = STORE_DONE,",
        "    if (0)\n        *worker_store_room(worker, 0) = (struct store_op){ .kind = STORE_DONE,",
        "restore:qos1", "crash"),
    "the receivers of a message are recorded": unit(
        "broker/router.c",
        "    return hit->slot && effective_qos(worker, hit, route->message) > 0 &&",
        "    return hit->slot && hit->kind != TREE_GROUP &&",
        "restore:group", "crash"),
    "what was sent at QoS 1 is recorded before what follows at QoS 2": unit(
        "broker/conn_out.c",
        "    durable_sent(worker, session); /* what was sent before comes before it, also after a crash */",
        "",
        "restore:both_kinds"),
    "messages that were accepted and not routed are routed at the start": unit(
        "broker/restore.c",
        "        route_rest(&restore);",
        "        (void)route_rest;",
        "restore:pubrec", "crash"),
    "groups know their members before anything is routed at the start": unit(
        "broker/restore.c",
        "        broker_settle(broker); /* groups know their members now */\n",
        "",
        "crash:three"),
    "an exchange keeps its identifier over a crash": unit(
        "broker/inflight.c",
        "    uint64_t gap = (id - 1u + INFLIGHT_IDENTIFIERS - inflight->next % INFLIGHT_IDENTIFIERS) %\n"
        "                   INFLIGHT_IDENTIFIERS;",
        "    uint64_t gap = 1;",
        "restore", "crash"),

    "what may have been sent before a crash is sent with DUP": unit(
        "broker/conn_out.c",
        "(delivery->flags & (DELIVERY_BEGUN | DELIVERY_MAYBE_SENT) ? 8 : 0) |",
        "(delivery->flags & DELIVERY_BEGUN ? 8 : 0) |",
        "restore:is_sent_to_version_3"),
    "identifiers behind one that is removed stay found": unit(
        "broker/id_set.c",
        "        set->slots[gap] = set->slots[at];\n        gap = at;",
        "        break;",
        "id_set"),

    # ---- bounds -----------------------------------------------------------------------------------
    "a queue that fills up is drained in mid-turn": unit(
        "broker/session.c",
        "if (session_can_drain(session))",
        "if (0 && session_can_drain(session))",
        "bounds:mid_turn"),
    "a publisher waits for a receiver that acknowledges": unit(
        "broker/brake.c",
        "return pace->brisk || pace->acknowledged >= BRISK;",
        "return false;",
        "brake:loses_nothing"),
    "but for no other": unit(
        "broker/brake.c",
        "return pace->brisk || pace->acknowledged >= BRISK;",
        "return true;",
        "brake:silent"),
    "publishers on another worker wait as well": unit(
        "broker/brake.c",
        "    worker->pressed_far = true;\n",
        "    worker->pressed = NULL;\n",
        "brake:reaches"),
    "publishers wait for mail to be taken in": unit(
        "broker/brake.c",
        "    worker_flush_outboxes(worker);\n    worker->mail_waits = worker_mail_waits(worker);",
        "    worker_flush_outboxes(worker);\n    worker->mail_waits = false;",
        "brake:mail"),
    "what comes behind CONNECT is held until the session has come": unit(
        "broker/conn.c",
        "            hold(conn, rest, now);\n",
        "            (void)hold;\n",
        "connect"),
    "a message to many is one that a mailbox is crowded with": unit(
        "broker/worker.c",
        "        messages += i == 0 || !mail_goes_with(&mail[i], &mail[i - 1]);",
        "        messages++;",
        "brake:many_get_once"),
    "a mailbox is crowded with many messages": unit(
        "broker/worker.c",
        "return has_mail(mailbox, &mailbox->messages, MAILBOX_CROWDED) ||",
        "return",
        "brake:mail_to_be_taken_in"),
    "full mailboxes stop publishers": unit(
        "broker/worker.c",
        "            worker->congested = true;",
        "            (void)0;",
        "bounds"),
    "a queue is bounded": unit(
        "broker/worker.c",
        "waiting < config->max_queued_messages)",
        "true)",
        "session:full"),
    "QoS 0 displaces nothing that was promised": unit(
        "broker/worker.c",
        "    if (delivery->qos)\n        waiting -= ",
        "    if (0)\n        waiting -= ",
        "session"),
    "what comes while there is a tail joins it": unit(
        "broker/session.c",
        "return paging_takes(worker, session, delivery) ?",
        "return !session_tail(session) && paging_takes(worker, session, delivery) ?",
        "paging"),
    "a message is missing only when all before is finished": unit(
        "broker/store/lmdb_reader.c",
        "    bool over = is_over(store, fetch);\n",
        "    bool over = is_over(store, fetch) || true;\n",
        "lmdb_reader:not_written"),
    "who is done is counted apart from copies in memory": unit(
        "broker/store/lmdb_apply.c",
        "    bool alone = stored && !stored->tallied;\n",
        "    bool alone = stored != NULL;\n",
        "lmdb_reader:counts"),
    "with an interval commits wait for their time": unit(
        "broker/store/lmdb_writer.c",
        "store->last_commit + store->options.interval, SLEEP_UNTIL_MUCH)",
        "0, SLEEP_UNTIL_MUCH)",
        "lmdb_writer:interval_acknowledges"),
    "with an interval nothing is acknowledged while it cannot be kept": unit(
        "broker/store/lmdb.c",
        "base->late && atomic_load(&store->state) == STORE_WRITES && !has_failed(lane)",
        "base->late",
        "lmdb_writer:interval_that_cannot"),
    "what was acknowledged at once is not given up": unit(
        "broker/store/lmdb_writer.c",
        "batch->acknowledged = !batch->told && batch->position <= lane->told;",
        "batch->acknowledged = false;",
        "lmdb_writer:interval_that_cannot"),
    "store_commit_delay collects before a commit": unit(
        "broker/store/lmdb_writer.c",
        "    if (store->options.commit_delay)\n",
        "    if (0)\n",
        "lmdb_writer:delay_collects"),
    "publishers are left unread behind 8 MB": unit(
        "broker/store/lmdb.c",
        "    bool is_behind = waiting > BEHIND_BYTES;\n",
        "    bool is_behind = false;\n",
        "lmdb_writer:much_data"),
    "a store whose commits take long is behind later": unit(
        "broker/store/lmdb_writer.c",
        "(4 * median > BEHIND_MIN ? 4 * median : BEHIND_MIN)",
        "BEHIND_MIN",
        "lmdb_writer:commits_take_long"),
    "what is not on disk yet is found by its number": unit(
        "broker/store/lmdb_writer.c",
        "    if (asks_by_number(store))\n",
        "    if (0 && asks_by_number(store))\n",
        "lmdb_reader:counts"),
    "pages of messages that are half empty are packed": unit(
        "broker/store/lmdb_pack.c",
        "    pack->under_way = true;\n    pack->at = 0;\n    return true;\n",
        "    return false;\n",
        "lmdb_pack:that_stay"),
    "the tail counts for max_queued_messages": unit(
        "broker/worker.c",
        "    uint32_t waiting = queue->count + tail->count;\n",
        "    uint32_t waiting = queue->count;\n",
        "paging:max_queued"),
    "a socket that takes nothing is given up": unit(
        "broker/conn.c",
        "    if (choked_ends(conn) <= now) {",
        "    if (0) {",
        "bounds:write_timeout"),
    "locks are taken in their order": unit(
        "broker/locks.c",
        "    CHECK(ranks >> ((unsigned)rank + same) == 0);\n",
        "    (void)0;\n",
        "locks"),

    # ---- under load, across workers ---------------------------------------------------------------
    "mail keeps its order": end_to_end(
        "broker/worker.c",
        "mails_add(&target->mailbox.mails, &mail[i]);",
        "mails_add(&target->mailbox.mails, &mail[count - 1 - i]);",
        "order.plain_wildcard_and_shared-1-2", "order.plain_wildcard_and_shared-2-4"),
    "an acknowledgement makes room for the next message of the group": end_to_end(
        "broker/session.c",
        "    if (entry->delivery.flags & DELIVERY_SHARED)\n"
        "        group_credit(worker, entry->delivery.member, 1);",
        "    (void)worker;",
        "order.plain_wildcard_and_shared-1-1", "order.plain_wildcard_and_shared-2-2"),
    "a queue that grows keeps its order": end_to_end(
        "broker/queue.c",
        "memcpy(grown + until_end, queue->ring, queue->head * sizeof *grown);",
        "memcpy(grown + until_end, queue->ring, (queue->head / 2) * sizeof *grown);",
        "order.plain_wildcard_and_shared-0-1"),
    "what waits at a group keeps its place": unit(
        "broker/group.c",
        "group->queue.count == 0 ? pick(",
        "true ? pick(",
        "group_interleavings"),
    "a session that has ended is in nobody's way": end_to_end(
        "broker/session.c",
        "    unsubscribe_all(worker, session);\n",
        "    (void)unsubscribe_all;\n",
        "order.connections_come_and_go-1", "order.connections_come_and_go-4"),
    "a session that has ended stays until the fence": end_to_end(
        "broker/session.c",
        "    fence_start(worker, &funeral->fence, now);",
        "    funeral->fence.worker = worker; bury(&funeral->fence, now);",
        "order.connections_come_and_go-4"),
    "a takeover waits for the fence": end_to_end(
        "broker/takeover.c",
        "        fence_start(worker, &claim->fence, now);",
        "        claim->fence.worker = worker; hand_over(&claim->fence, now);",
        "order.storm_of_takeovers-4"),
    "a takeover keeps the identifiers of QoS 2": end_to_end(
        "broker/conn_in.c",
        "    if (!id_set_has(session->qos2_ids, publish->id))",
        "    (void)id_set_remove(&session->qos2_ids, publish->id); /* so that there is room for it */\n    if (true)",
        "order.storm_of_takeovers-5"),
    "who has published a retained message is known after a restart": end_to_end(
        "broker/restore.c",
        "    message->author = author_of_record(restore, author);",
        "    (void)author_of_record, (void)author;",
        "acl.retained_message_goes_with_its_authors_right_after_a_restart-1"),
    "a retained message is posted under its shard's lock": end_to_end(
        "broker/router.c",
        "    uint32_t hits = offer_to_all(worker, route, &own);\n",
        "    retained_unlock(shard);\n"
        "    extern int sched_yield(void);\n"
        "    for (int i = 0; i < 20; i++)\n"
        "        (void)sched_yield();\n"
        "    uint32_t hits = offer_to_all(worker, route, &own);\n"
        "    shard = retained_lock(retained, key);\n",
        "order.retained_topic_under_two_publishers-1-4"),
    "mail goes before a worker's own retained messages": end_to_end(
        "broker/router.c",
        "    worker_take_in(worker);\n",
        "",
        "order.retained_topic_under_two_publishers-1-2"),
    "a revoked certificate does not resume a session": end_to_end(
        "transport/certificates.c",
        "    if (!tls_new_ticket_keys())",
        "    if (0)",
        "certificates.revoked_certificate_does_not_resume_a_session-772-SIGHUP"),

    # ---- the LMDB store ---------------------------------------------------------------------------
    "a row under a wrong checksum is damaged": unit(
        "broker/store/lmdb_format.c",
        "sum != checksum(key, row.data, row.len)",
        "0",
        "lmdb_damage:flipped"),
    "an exchange is not written before its message": unit(
        "broker/store/lmdb_apply.c",
        "        waits = op->kind == STORE_OUTBOUND && op->message && op->message->stored &&\n"
        "                !op->message->stored->routed;",
        "        waits = false;",
        "lmdb_writer:waits_for_the_message"),
    "what all receivers are done with is never written": unit(
        "broker/store/lmdb_apply.c",
        "    if (op->message->stored->left > 0)\n        plan_put(store, op, false);",
        "    plan_put(store, op, false);",
        "lmdb:never_written"),
    "what somebody still wants is committed before it is finished": unit(
        "broker/store/lmdb_apply.c",
        "static bool is_wanted(const struct store_op *op)\n{\n    return op->message->stored->left > 0;",
        "static bool is_wanted(const struct store_op *op)\n{\n    (void)op;\n    return false;",
        "lmdb:sequence", "lmdb:grows"),
    "the highest number of a retained topic wins": unit(
        "broker/store/lmdb_retained.c",
        "put->left_out = put->left_out || put->before > put->place.number;",
        "",
        "lmdb_retained:model"),
    "it is known for a while that a retained topic was cleared": unit(
        "broker/store/lmdb_retained.c",
        "    TOMB_AGE = 10000,",
        "    TOMB_AGE = 0,",
        "lmdb_retained:model"),
    "a retained topic that was cleared is told with its number": unit(
        "broker/store/lmdb_load.c",
        "    if (!retained_row_decode(body, &row) ||\n",
        "    if (!retained_row_decode(body, &row) || row.cleared ||\n",
        "lmdb_retained:last_number"),
    "a dump leaves out what was replaced": unit(
        "broker/store/lmdb_tools.c",
        "    if (!is_said(dump, row))\n        return true;",
        "    (void)is_said(dump, row);",
        "lmdb_retained:dump"),
    "a newer version is refused": unit(
        "broker/store/lmdb_walk.c",
        "    return walk->meta.version > STORE_VERSION ? -ENOTSUP : 0;",
        "    return 0;",
        "lmdb:newer"),
    "two brokers do not share a folder": unit(
        "broker/store/lmdb_env.c",
        "    if (flock(store->lock_file, LOCK_EX | LOCK_NB) < 0) {",
        "    if (0) {",
        "lmdb:another_broker"),
    "a store that cannot write does not acknowledge": unit(
        "broker/store/lmdb_writer.c",
        "    if (rc) {\n        failed(store, rc, now);\n        wait_for_room(store);\n        return;\n    }",
        "    if (rc)\n        failed(store, rc, now);",
        "lmdb_writer:holds_acknowledgements"),
    "what failed is told as failed": unit(
        "broker/store/lmdb_writer.c",
        "lane_finish(&store->lanes[batch->worker], batch->position, true);",
        "lane_finish(&store->lanes[batch->worker], batch->position, false);",
        "lmdb_writer:tells_it"),
    "a message that stays in the file is logged as done": unit(
        "broker/store/lmdb_apply.c",
        "    if (op->state != DONE_UNWRITTEN)\n",
        "    if (op->state == DONE_LOGGED)\n",
        "lmdb_reap:few"),
    "a child that dies is damage": unit(
        "broker/store/lmdb_walk.c",
        "        *ret_signal = WTERMSIG(status);\n        return -EBADMSG;",
        "        *ret_signal = WTERMSIG(status);\n        return 0;",
        "lmdb_damage"),
}

