/* Ranks by MPI. One thread of each process, the pump, does all of MPI: it moves bytes between the
 * messages of a peer and a local socket, and sends and expects heartbeats. It never waits for a
 * peer, and nothing is collective between start and end, so a rank that dies holds up nobody. */
#define _GNU_SOURCE
#include "tuner/ranks.h"

#include <mpi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/progress.h"

/* A peer that was silent for LOST_SECONDS is lost, unless this process itself did not run for
 * PAUSE_SECONDS. */
static const double BEAT_SECONDS = 1, LOST_SECONDS = 5, PAUSE_SECONDS = 2, BYE_SECONDS = 2;
enum { START_SECONDS = 60, END_SECONDS = 10 };
static const struct timespec TURN = {.tv_nsec = 250000};
/* Bytes of a message: so few that MPI sends them without asking the receiver, who could die before
 * it answers. */
enum { CHUNK = 2048 };
enum tag { HELLO, BEAT, BYTES, BYE };

/* Rank 0's peers are all others, whose only peer is rank 0. */
struct peer {
	int rank;
	int pump_end, user_end; /* of the socket */
	double heard, beaten;   /* seconds */
	bool lost;
	char hello[MPI_MAX_PROCESSOR_NAME + 16]; /* "PID HOST" */
	char chunk[CHUNK];
	MPI_Request sending, beating;
};

static struct {
	pthread_t pump;
	pthread_mutex_t lock;
	pthread_cond_t started_now;
	bool started; /* guarded by the lock */
	int rank, n, local_rank;
	char hello[MPI_MAX_PROCESSOR_NAME + 16];
	struct peer *peers;
	int n_peers;
	double turned;            /* seconds */
	double closed;            /* of a relay: when its stream was; 0 while it is open */
	bool dismissed, finalize; /* by rank 0's BYE, and what it said */
	atomic_bool ending;
	int exit_code;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .started_now = PTHREAD_COND_INITIALIZER,
           .n = 1,
           .finalize = true};

static const char *host_of(const char *hello)
{
	const char *space = strchr(hello, ' ');
	return space ? space + 1 : "?";
}

static void close_stream(const struct peer *peer)
{
	world.closed = world.turned;
	shutdown(peer->pump_end, SHUT_RDWR);
}

/* Closes the stream. What only stands still on this machine is ended, since mpirun waits for it. */
static void lose(struct peer *peer)
{
	int pid = atoi(peer->hello);
	peer->lost = true;
	close_stream(peer);
	if (!world.rank && pid > 0 && !strcmp(host_of(peer->hello), host_of(world.hello)))
		kill(pid, SIGKILL);
}

static bool is_done(MPI_Request *request)
{
	int done = 0;
	return MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done;
}

static void send_to(struct peer *peer, enum tag tag, const void *bytes, int n, MPI_Request *request)
{
	if (MPI_Isend(bytes, n, MPI_BYTE, peer->rank, tag, MPI_COMM_WORLD, request) != MPI_SUCCESS)
		lose(peer);
}

/* From the socket to the peer, a chunk at a time. */
static void pass_on(struct peer *peer)
{
	if (!is_done(&peer->sending))
		return;
	ssize_t n = recv(peer->pump_end, peer->chunk, CHUNK, MSG_DONTWAIT);
	if (n > 0)
		send_to(peer, BYTES, peer->chunk, (int)n, &peer->sending);
}

static void beat(struct peer *peer)
{
	if (world.turned - peer->beaten < BEAT_SECONDS || !is_done(&peer->beating))
		return;
	peer->beaten = world.turned;
	send_to(peer, BEAT, NULL, 0, &peer->beating);
}

static void take(struct peer *peer, enum tag tag, const char *bytes, int n)
{
	peer->heard = world.turned;
	if (tag == HELLO)
		snprintf(peer->hello, sizeof peer->hello, "%.*s", n, bytes);
	if (tag == BYTES && send(peer->pump_end, bytes, (size_t)n, MSG_NOSIGNAL) != n)
		lose(peer);
	if (tag == BYE) {
		world.dismissed = true;
		world.finalize = bytes[0];
		close_stream(peer);
	}
}

/* One message, if there is one. */
static bool receive(void)
{
	char bytes[CHUNK];
	int there = 0, n = 0;
	MPI_Status status;
	if (MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &status) || !there ||
	    MPI_Recv(bytes, CHUNK, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD,
	             &status) ||
	    MPI_Get_count(&status, MPI_BYTE, &n))
		return false;
	struct peer *peer = &world.peers[world.rank ? 0 : status.MPI_SOURCE - 1];
	if (!peer->lost)
		take(peer, (enum tag)status.MPI_TAG, bytes, n);
	return true;
}

/* Wakes up at once for what the sockets have; MPI is asked every TURN. */
static void wait_for_sockets(struct pollfd *ready)
{
	int n = 0;
	for (int i = 0; i < world.n_peers; i++)
		if (!world.peers[i].lost && is_done(&world.peers[i].sending))
			ready[n++] =
			        (struct pollfd){.fd = world.peers[i].pump_end, .events = POLLIN};
	ppoll(ready, (nfds_t)n, &TURN, NULL);
}

static void turn(void)
{
	double now = seconds_now();
	bool paused = now - world.turned > PAUSE_SECONDS;
	world.turned = now;
	while (receive())
		;
	for (int i = 0; i < world.n_peers; i++) {
		struct peer *peer = &world.peers[i];
		if (paused)
			peer->heard = now;
		if (!peer->lost && now - peer->heard > LOST_SECONDS)
			lose(peer);
		if (peer->lost)
			continue;
		pass_on(peer);
		beat(peer);
	}
}

static void open_peer(struct peer *peer, int rank)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		abort();
	*peer = (struct peer){.rank = rank,
	                      .pump_end = ends[0],
	                      .user_end = ends[1],
	                      .heard = world.turned,
	                      .sending = MPI_REQUEST_NULL,
	                      .beating = MPI_REQUEST_NULL};
	send_to(peer, HELLO, world.hello, (int)strlen(world.hello), &peer->sending);
}

static void start(void)
{
	int provided, length;
	char host[MPI_MAX_PROCESSOR_NAME];
	MPI_Comm node;
	MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
	MPI_Comm_size(MPI_COMM_WORLD, &world.n);
	MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &node);
	MPI_Comm_rank(node, &world.local_rank);
	MPI_Comm_free(&node);
	MPI_Get_processor_name(host, &length);
	snprintf(world.hello, sizeof world.hello, "%d %.*s", (int)getpid(), length, host);
	world.turned = seconds_now();
	world.n_peers = world.rank ? 1 : world.n - 1;
	world.peers = calloc((size_t)world.n, sizeof *world.peers);
	if (!world.peers)
		abort();
	for (int i = 0; i < world.n_peers; i++)
		open_peer(&world.peers[i], world.rank ? 0 : i + 1);
}

/* Rank 0's last words; without the collective end when somebody would be missing there. */
static void say_bye(void)
{
	char finalize;
	for (int i = 0; i < world.n_peers; i++)
		world.finalize &= !world.peers[i].lost;
	finalize = world.finalize;
	double until = seconds_now() + BYE_SECONDS;
	for (int i = 0; i < world.n_peers; i++) {
		struct peer *peer = &world.peers[i];
		while (!peer->lost && !is_done(&peer->sending) && seconds_now() < until)
			nanosleep(&TURN, NULL);
		if (!peer->lost && is_done(&peer->sending))
			send_to(peer, BYE, &finalize, 1, &peer->sending);
	}
	for (int i = 0; i < world.n_peers; i++)
		while (!world.peers[i].lost && !is_done(&world.peers[i].sending) &&
		       seconds_now() < until)
			nanosleep(&TURN, NULL);
}

static void leave(int number)
{
	(void)number;
	_exit(world.exit_code);
}

static void *pump(void *unused)
{
	(void)unused;
	start();
	pthread_mutex_lock(&world.lock);
	world.started = true;
	pthread_cond_signal(&world.started_now);
	pthread_mutex_unlock(&world.lock);
	struct pollfd *ready = calloc((size_t)world.n, sizeof *ready);
	while (ready && !world.ending) {
		wait_for_sockets(ready);
		turn();
		if (world.rank && world.closed > 0 && world.turned - world.closed > END_SECONDS)
			leave(0); /* a device does not let go of its worker */
	}
	free(ready);
	if (!world.rank)
		say_bye();
	if (!world.finalize || (world.rank && !world.dismissed))
		leave(0);
	signal(SIGALRM, leave); /* somebody may die now */
	alarm(END_SECONDS);
	MPI_Finalize();
	alarm(0);
	return NULL;
}

enum status ranks_open(char **argv, bool *done)
{
	enum status status = STATUS_OK;
	struct timespec until;
	int late = 0;
	(void)argv;
	*done = false;
	if (!getenv("PMIX_RANK") && !getenv("PMI_RANK"))
		return STATUS_OK;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += START_SECONDS;
	pthread_mutex_lock(&world.lock);
	if (pthread_create(&world.pump, NULL, pump, NULL))
		status = fail(STATUS_FAILED, "cannot start a thread");
	while (status == STATUS_OK && !world.started && !late)
		late = pthread_cond_timedwait(&world.started_now, &world.lock, &until);
	pthread_mutex_unlock(&world.lock);
	if (late)
		status = fail(STATUS_FAILED, "MPI did not start within %d s", START_SECONDS);
	if (status != STATUS_OK || !world.rank)
		return status;
	/* rank 0 decides when to stop */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	relay_run(world.peers[0].user_end, world.local_rank);
	*done = true;
	return STATUS_OK;
}

int ranks_close(int exit_code)
{
	if (!world.started)
		return exit_code;
	fflush(NULL);
	world.exit_code = exit_code;
	world.ending = true;
	pthread_join(world.pump, NULL);
	return exit_code;
}

int ranks_count(void)
{
	return world.n;
}

int ranks_link(int rank)
{
	return world.peers[rank - 1].user_end;
}

const char *ranks_host(int rank)
{
	return host_of(rank ? world.peers[rank - 1].hello : world.hello);
}
