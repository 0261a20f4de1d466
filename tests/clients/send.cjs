// Nodemailer sends by both ports and with each mechanism that it has in common with mailroot, and two messages over
// one kept connection.
//
// Arguments: the STARTTLS port, the implicit port, the CA's file, then the messages of both ports. Each way that worked
// is a line of the output, and its name stands in the message for the word WAY.
'use strict';

const fs = require('fs');
const nodemailer = require('nodemailer');

const [starttls, implicit, ca, small, large] = process.argv.slice(2);
const envelope = { from: 'alice@nas.example', to: ['bob@office.example', 'eve@office.example'] };

async function main() {
    for (const [name, port, message] of [['starttls', starttls, small], ['implicit', implicit, large]]) {
        for (const how of ['PLAIN', 'LOGIN', 'pool']) {
            const way = `${name}-${how}`;
            const pool = how === 'pool';
            const client = nodemailer.createTransport({
                host: 'localhost',
                port: Number(port),
                secure: name === 'implicit',
                requireTLS: true,
                tls: { ca: fs.readFileSync(ca) },
                auth: { user: 'tim', pass: 'hunter2' },
                authMethod: pool ? undefined : how,
                pool,
                maxConnections: 1,
            });
            if (pool) {
                await client.verify();
            }
            for (const each of pool ? [way, `${way}-again`] : [way]) {
                const raw = fs.readFileSync(message, 'utf8').replaceAll('WAY', each);
                await client.sendMail({ envelope, raw });
                console.log(each);
            }
            client.close();
        }
    }
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
