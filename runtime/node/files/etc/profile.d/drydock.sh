# Read by login shells, such as those of `su -`, which begin with an empty
# environment.
export LANG=C.UTF-8
export DOCKER_CLI_DISABLE_OAUTH_LOGIN=1
export DOCKER_CLI_HINTS=false
