/*
 * Replies whose body is not in memory: a stream that the service feeds from
 * any thread for as long as it likes, and files. And request bodies that go
 * to a file.
 *
 * A handler that returns a stream's reply is done: its worker is free, the
 * request's arena lives until the stream ends. Streams count as requests in
 * flight; draining ends them with the sentinel of their kind (an SSE client
 * connects anew).
 */
#ifndef KOMBI_STREAM_H
#define KOMBI_STREAM_H

#include <kombi/http.h>

struct kb_stream;

struct kb_stream_conf {
	const char *content_type;
	/* Called once, on the loop, when the client is gone, the stream was
	 * ended or the service stops; may not block. Nothing is sent after it.
	 * The stream lives until kb_stream_release. */
	void (*closed)(struct kb_stream *s, void *arg);
	void *arg;
	/* A comment line ": \n\n" after so long without a byte, 0: none. */
	int64_t keep_alive_ms;
	/* Ends the stream after so long without kb_stream_send, 0: never. */
	int64_t idle_ms;
	/* Ends the stream after so long in any case, 0: never. */
	int64_t most_ms;
	/* A client that lets so many bytes wait is cut off; 0: 1 MiB. */
	size_t high_water;
};

/*
 * Answers 200 with an open, chunked body. *out has one reference for the
 * caller, given back by kb_stream_release.
 */
struct kb_reply kb_stream_reply(struct kb_request *req,
    const struct kb_stream_conf *conf, struct kb_stream **out);
/* Any thread. Copies. False: the stream has ended (or is cut off now). */
bool kb_stream_send(struct kb_stream *s, const void *data, size_t len);
/* Any thread: ends the body properly once what was sent is out. */
void kb_stream_end(struct kb_stream *s);
struct kb_stream *kb_stream_ref(struct kb_stream *s);
void kb_stream_release(struct kb_stream *s);

/*
 * Part of an open file as the body; takes the descriptor over. Sent in
 * pieces as the client takes them, never read whole into memory. Range and
 * conditions are the caller's (RFC 9110 13, 14): kb_file_reply_conditional
 * does them for a whole file with these validators.
 */
struct kb_reply kb_file_reply(struct kb_request *req, int status,
    const char *content_type, int fd, uint64_t from, uint64_t len);
/* 200, 206, 304, 412 or 416 by If-None-Match, If-Modified-Since, If-Match,
 * If-Range and a Range of one part (several: the whole). etag with quotes;
 * NULL: none. modified_s: unix seconds, 0: none. */
struct kb_reply kb_file_reply_conditional(struct kb_request *req,
    const char *content_type, int fd, const char *etag, int64_t modified_s);

/*
 * Route flag KB_SPOOL_BODY: a body that is larger than 64 KiB goes to an
 * unlinked file of the service's spool folder ("" in kb_service: bodies stay
 * in memory) while it comes, without a total deadline but with the least
 * rate. kb_body_fd is that file at offset 0 (the request's, closed with it),
 * or -1 when the body is in req->body; req->body_len is the size either way.
 */
int kb_body_fd(const struct kb_request *req);

#endif
