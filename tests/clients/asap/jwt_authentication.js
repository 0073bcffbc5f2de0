// Asks npm's jwt-authentication for its verdict on each vector: one JSON line a token, {"name", "accepted"}.
'use strict';
const fs = require('fs');
const http = require('http');
const [head, ...vectors] = fs.readFileSync(process.argv[2], 'utf8').trim().split('\n').map((line) => JSON.parse(line));
Date.now = () => head.now * 1000;

// As a text, which every variable of the environment is, its leeway is appended to the time and not added to it.
Object.defineProperty(process, 'env', {value: {...process.env, ASAP_SERVER_LEEWAY_SECONDS: head.leeway}});

const repository = http.createServer((request, response) => {
    const pem = head.keys[decodeURIComponent(request.url.slice(1))];
    response.writeHead(pem ? 200 : 404, {'content-type': 'application/x-pem-file'});
    response.end(pem || '');
});

repository.listen(0, '127.0.0.1', async () => {
    const url = `http://127.0.0.1:${repository.address().port}/`;
    const validator = require('jwt-authentication').server.create({publicKeyBaseUrl: url, resourceServerAudience: head.audience});
    for (const {name, token} of vectors) {
        const accepted = await new Promise((resolve) => {
            try {
                validator.validate(token, head.allowed_issuers, (error) => resolve(!error));
            } catch (error) {
                resolve(false);
            }
            setTimeout(() => resolve(false), 2000).unref();
        });
        console.log(JSON.stringify({name, accepted}));
    }
    process.exit(0);
});
