/* Usage: connect_load tcp|udp|connected COUNT
 *
 * So many connections to a listener of its own; datagrams that name where they go; connects of a socket for datagrams.
 * All on loopback, and nothing of its own in between. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in here = {.sin_family = AF_INET};
static socklen_t size = sizeof(here);

static int bound(int kind)
{
	int sock = socket(AF_INET, kind, 0);

	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (sock < 0 || bind(sock, (struct sockaddr *)&here, size) ||
	    getsockname(sock, (struct sockaddr *)&here, &size))
		exit(2);
	return sock;
}

static void connection(int listener)
{
	struct linger abort = {.l_onoff = 1};
	int client = socket(AF_INET, SOCK_STREAM, 0), server;

	if (connect(client, (struct sockaddr *)&here, size))
		exit(3);
	server = accept(listener, 0, 0);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)); /* no TIME_WAIT: ports would run out */
	close(client);
	close(server);
}

int main(int count, char **words)
{
	long turns = count == 3 ? atol(words[2]) : 0;
	int is_tcp = turns && !strcmp(words[1], "tcp"), is_connected = turns && !strcmp(words[1], "connected");
	int sink = bound(is_tcp ? SOCK_STREAM : SOCK_DGRAM), sock = socket(AF_INET, SOCK_DGRAM, 0);

	if (is_tcp && listen(sink, 16))
		return 4;
	while (turns--) {
		if (is_tcp)
			connection(sink);
		else if (is_connected ? connect(sock, (struct sockaddr *)&here, size)
				      : sendto(sock, "", 0, 0, (struct sockaddr *)&here, size))
			return 5;
	}
	return 0;
}
