/*
 * Private: streams and files as bodies, between service_serve.c and stream.c.
 * But for the public functions everything is on the loop.
 */
#ifndef KOMBI_STREAM_PRIVATE_H
#define KOMBI_STREAM_PRIVATE_H

#include <kombi/http_server.h>
#include <kombi/stream.h>

/* All streams of a serving loop. */
struct kb_streams;

struct kb_streams *kb_streams_new(struct event_base *base);
void kb_streams_free(struct kb_streams *all); /* after the last exchange */
/* Ends every one: their clients come back, to another process. */
void kb_streams_end(struct kb_streams *all);

/* The head is out: from now on what is sent goes to the client. */
void kb_stream_attach(struct kb_stream *s, struct kb_exchange *ex);
void kb_stream_writable(struct kb_stream *s);
/* The exchange is over, or never came about. Takes the frame's reference. */
void kb_stream_gone(struct kb_stream *s);
/* What was sent so far, for tests without a loop. */
struct kb_slice kb_stream_pending(struct kb_stream *s);

/* A file that is being sent. */
struct kb_file_body {
	int fd;
	uint64_t at, left;
};
/* As much as the client takes; finishes the exchange at the end. */
void kb_file_send(struct kb_file_body *f, struct kb_exchange *ex);

#endif
