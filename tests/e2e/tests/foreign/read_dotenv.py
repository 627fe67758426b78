# Reads a .env file with python-dotenv and prints what it holds, as JSON.
import json
import sys

from dotenv import dotenv_values

json.dump(dotenv_values(sys.argv[1], encoding="utf-8"), sys.stdout)
