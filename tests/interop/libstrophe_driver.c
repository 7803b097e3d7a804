/* libstrophe behind the line protocol of driver.rs: HOST PORT JID PASSWORD PARTNER */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <strophe.h>

#define SM "urn:xmpp:sm:3"

static xmpp_ctx_t *ctx;
static xmpp_conn_t *conn;
static const char *host, *address, *password, *partner;
static unsigned short port;
static int online, up, quitting, stopped, resumed;
static char *kept[1024];
static size_t keeping;

static void report(const char *word, const char *rest)
{
    printf("%s %s\n", word, rest ? rest : "");
    fflush(stdout);
}

/* NUMBER TEXT */
static void speak(const char *line)
{
    char id[32];
    snprintf(id, sizeof id, "m%ld", strtol(line, NULL, 10));
    xmpp_stanza_t *message = xmpp_message_new(ctx, "chat", partner, id);
    xmpp_message_set_body(message, strchr(line, ' ') + 1);
    xmpp_send(conn, message);
    xmpp_stanza_release(message);
}

static void flush(void)
{
    online = 1;
    for (size_t i = 0; i < keeping; i++) {
        speak(kept[i]);
        free(kept[i]);
    }
    keeping = 0;
}

static int on_message(xmpp_conn_t *c, xmpp_stanza_t *stanza, void *data)
{
    (void)c, (void)data;
    const char *type = xmpp_stanza_get_type(stanza);
    char *body = xmpp_message_get_body(stanza);
    xmpp_stanza_t *delay = xmpp_stanza_get_child_by_ns(stanza, "urn:xmpp:delay");
    const char *stamp = delay ? xmpp_stanza_get_attribute(delay, "stamp") : "-";
    if (body && type && strcmp(type, "error") == 0) {
        report("note came back as an error:", body);
    } else if (body) {
        printf("received %s %s\n", stamp, body);
        fflush(stdout);
    }
    if (body)
        xmpp_free(ctx, body);
    return 1;
}

static int on_sm(xmpp_conn_t *c, xmpp_stanza_t *stanza, void *data)
{
    (void)data;
    const char *name = xmpp_stanza_get_name(stanza);
    if (strcmp(name, "enabled") == 0) {
        /* What is sent before this is not counted. */
        xmpp_stanza_t *presence = xmpp_presence_new(ctx);
        xmpp_send(c, presence);
        xmpp_stanza_release(presence);
        report("online", xmpp_conn_get_bound_jid(c));
        flush();
    }
    return 1;
}

static void on_conn(xmpp_conn_t *c, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error, void *data)
{
    (void)c, (void)error, (void)data;
    if (event == XMPP_CONN_CONNECT && resumed) {
        report("resumed", NULL);
        flush();
    } else if (event != XMPP_CONN_CONNECT) {
        up = 0;
        if (online)
            report("offline", stream_error ? stream_error->text : NULL);
        online = 0;
    }
}

/* libstrophe tells of a resume, and of a refusal, nowhere else. */
static void on_log(void *data, xmpp_log_level_t level, const char *area, const char *text)
{
    (void)data, (void)level;
    fprintf(stderr, "%s %s\n", area, text);
    if (strstr(text, "Session resumed successfully"))
        resumed = 1;
    if (strncmp(text, "RECV: <failed ", 14) == 0) {
        const char *h = strstr(text, " h=\"");
        report("failed", h ? strtok(strdup(h + 4), "\"") : "-");
    }
}

/* What was never written would go with the connection. */
static void rescue(void)
{
    char *text;
    while ((text = xmpp_conn_send_queue_drop_element(conn, XMPP_QUEUE_OLDEST))) {
        char *body = strstr(text, "<body>"), *id = strstr(text, "id=\"m"), line[512];
        if (body && id && keeping < sizeof kept / sizeof *kept) {
            snprintf(line, sizeof line, "%ld %.*s", strtol(id + 5, NULL, 10), (int)strcspn(body + 6, "<"), body + 6);
            kept[keeping++] = strdup(line);
        }
        xmpp_free(ctx, text);
    }
}

static void dial(xmpp_sm_state_t *state)
{
    resumed = 0;
    conn = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_DISABLE_TLS);
    xmpp_conn_set_jid(conn, address);
    xmpp_conn_set_pass(conn, password);
    if (state && xmpp_conn_set_sm_state(conn, state) != XMPP_EOK)
        report("note", "the state of stream management was refused");
    xmpp_handler_add(conn, on_message, NULL, "message", NULL, NULL);
    xmpp_handler_add(conn, on_sm, SM, NULL, NULL, NULL);
    up = xmpp_connect_client(conn, host, port, on_conn, NULL) == XMPP_EOK;
}

static void command(char *line)
{
    if (strncmp(line, "send ", 5) == 0) {
        if (online)
            speak(line + 5);
        else if (keeping < sizeof kept / sizeof *kept)
            kept[keeping++] = strdup(line + 5);
    } else if (strcmp(line, "stop") == 0) {
        stopped = 1;
        report("stopped", NULL);
    } else if (strcmp(line, "go") == 0) {
        stopped = 0;
    } else if (strcmp(line, "quit") == 0) {
        quitting = 1;
        xmpp_disconnect(conn);
    }
}

static void read_commands(int timeout)
{
    static char buffer[65536];
    static size_t filled;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    if (poll(&input, 1, timeout) <= 0)
        return;
    ssize_t n = read(0, buffer + filled, sizeof buffer - 1 - filled);
    if (n <= 0) {
        command("quit");
        return;
    }
    filled += (size_t)n;
    buffer[filled] = 0;
    char *line = buffer, *end;
    while ((end = strchr(line, '\n'))) {
        *end = 0;
        command(line);
        line = end + 1;
    }
    filled -= (size_t)(line - buffer);
    memmove(buffer, line, filled);
}

int main(int argc, char **argv)
{
    /* The library writes to connections that are gone. */
    signal(SIGPIPE, SIG_IGN);
    if (argc != 6)
        return 2;
    host = argv[1];
    port = (unsigned short)atoi(argv[2]);
    address = argv[3];
    password = argv[4];
    partner = argv[5];
    xmpp_initialize();
    const xmpp_log_t log = {.handler = on_log};
    ctx = xmpp_ctx_new(NULL, &log);
    dial(NULL);
    while (up || !quitting) {
        read_commands(stopped ? 20 : 0);
        if (stopped)
            continue;
        xmpp_run_once(ctx, 2);
        if (!up && !quitting) {
            rescue();
            xmpp_sm_state_t *state = xmpp_conn_get_sm_state(conn);
            xmpp_conn_release(conn);
            dial(state);
        }
    }
    return 0;
}
