complete -o default -W "--color --context -V -c -q -v -vv" mig-console
complete -o default -W "-V -c -expireafter -i -nolaunch -p -t -urlencode -v -validfrom -vv" mig-action-generator
complete -o default -W "-V -a -c -canonical -conf -from-api -keyring -v -vv" mig-action-verifier
complete -o default -W "--columns --csv --csv-safe --json --ndjson --no-header --output --sort --wide -V -c -o -p -t -v -vv" mig-agent-search
complete -o default -W "-P -S -V -c -d -embed -f -i -m -n -p -q -show -u" mig-agent
complete -o default -W "--add-investigator --config --debug --help --openapi --version -V -c -d -h" mig-api
complete -o default -W "--help --migrate --version -V -c -d -h" mig-scheduler
complete -o default -W "--config --data --help --version -V -c -h" mig-standalone
complete -o default -W "--api-port --countdown --dir --help --keep --relay-port --version -V -h" mig-demo
complete -o default -W "--help --version -V -h" mig-swarm
