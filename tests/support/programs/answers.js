/* A server of Node: /404 is answered with 404, /200/30 with 200 after 30 ms, chunked. Prints what it has answered. */
const http = require("http");

http.createServer((request, response) => {
  const [, status, pause] = request.url.split("/").map(Number);
  request.resume();
  request.on("end", () => {
    setTimeout(() => {
      response.statusCode = status || 200;
      response.write("hel");
      response.end("lo\n");
    }, pause || 0);
  });
  response.on("finish", () => console.log(request.method, response.statusCode));
}).listen(Number(process.argv[2]), "::");
