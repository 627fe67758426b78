// Reads a .env file with npm's dotenv and prints what it holds, as JSON.
const { parse } = require("dotenv");
const { readFileSync } = require("node:fs");
process.stdout.write(JSON.stringify(parse(readFileSync(process.argv[2]))));
