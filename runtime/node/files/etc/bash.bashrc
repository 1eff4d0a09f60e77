# Read by every interactive bash that is no login shell.
[[ -r /etc/drydock/bashrc ]] && . /etc/drydock/bashrc
