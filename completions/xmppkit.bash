# bash completion for xmppkit. It needs no other package.
#
# Nothing of the line is evaluated. Its words are unquoted here, the program gets them as
# arguments, and what the program offers is quoted before readline inserts it.

# __xmppkit_words puts the words of $1 without their quotes into words. The last one is
# the one under the cursor; quote is the quote that is open there.
__xmppkit_words() {
    local rest=$1 part n=0
    words=('') quote=
    while [[ -n $rest ]]; do
        case $quote in
        "'") part=${rest%%\'*} ;;
        '"') part=${rest%%[\"\\]*} ;;
        "$'") part=${rest%%[\'\\]*} ;;
        *) part=${rest%%[$' \t\n'\"\'\\]*} ;; # bash splits at no other space
        esac
        words[n]+=$part
        rest=${rest:${#part}}
        case $quote:$rest in
        *:) ;;
        :\'*)
            quote="'" rest=${rest:1}
            [[ $part != *\$ ]] || quote="$'" words[n]=${words[n]%\$}
            ;;
        :\"*) quote='"' rest=${rest:1} ;;
        \':* | \":\"* | \$\':\'*) quote= rest=${rest:1} ;;
        \":\\[!\$\`\"\\]*) words[n]+=${rest:0:2} rest=${rest:2} ;;
        *:\\*) words[n]+=${rest:1:1} rest=${rest:2} ;;
        *)
            rest=${rest#"${rest%%[!$' \t\n']*}"}
            words[++n]=
            ;;
        esac
    done
}

# __xmppkit_quote sets REPLY to $1 as one writes it inside the open quote $2, if any.
__xmppkit_quote() {
    local i c
    REPLY=
    for ((i = 0; i < ${#1}; i++)); do
        c=${1:i:1}
        case $2 in
        "'") [[ $c != "'" ]] || c="'\\''" ;;
        '"')
            case $c in
            [\$\`\"\\]) c=\\$c ;;
            !) c='"\!"' ;;
            esac
            ;;
        "$'") [[ $c != [\'\\] ]] || c=\\$c ;;
        *) [[ $c == [[:alnum:]_./:@%+=,-] ]] || c=\\$c ;;
        esac
        REPLY+=$c
    done
}

# __xmppkit_list puts the values with their descriptions into COMPREPLY. That is for a
# list that readline only shows.
__xmppkit_list() {
    local i width=0 item
    for i in "${!values[@]}"; do
        ((${#values[i]} <= width)) || width=${#values[i]}
    done
    COMPREPLY=()
    for i in "${!values[@]}"; do
        item=${values[i]}
        if [[ -n ${described[i]} ]]; then
            printf -v item '%-*s  (%s)' "$width" "$item" "${described[i]}"
        fi
        COMPREPLY+=("${item:0:${COLUMNS:-80}}")
    done
}

_xmppkit() {
    local line=${COMP_LINE:0:COMP_POINT} head quote directive=: value REPLY
    local -a words all values described
    COMPREPLY=()
    # Readline replaces $2. What is before it in the same word remains.
    [[ $line == *"$2" ]] || return
    line=${line#"${line%%[!$' \t\n']*}"} # of sudo xmppkit, bash-completion leaves a space
    __xmppkit_words "$line"
    all=("${words[@]}")
    __xmppkit_words "${line:0:${#line}-${#2}}"
    head=${words[${#words[@]} - 1]}

    while IFS= read -r value; do
        [[ $directive == : ]] || __xmppkit_offer "$directive"
        directive=$value
    done < <(command xmppkit __complete "${all[@]:1}" 2>/dev/null </dev/null)
    [[ $directive =~ ^:[0-9]+$ ]] || return
    directive=${directive:1}
    ((!(directive & 128))) || __xmppkit_commands "${all[${#all[@]} - 1]}"
    # Of a path that begins with ${...}, or the like, readline itself would run the
    # commands in it.
    [[ $2 != *\`* && $2 != *\$[\(\{\[]* ]] || ((directive &= ~16, directive |= 4))
    ((!(directive & (4 | 16)))) || compopt +o default 2>/dev/null
    ((!(directive & 16))) || compopt -o dirnames 2>/dev/null
    ((!(directive & 2))) || compopt -o nospace 2>/dev/null
    # 63 is the second Tab, which lists and inserts nothing.
    ((COMP_TYPE != 63 || ${#values[@]} < 2)) || __xmppkit_list
}

# __xmppkit_offer takes a line of the program: a value, and its description after a tab.
__xmppkit_offer() {
    local value=${1%%$'\t'*}
    [[ $value == "$head"* ]] || return
    values+=("$value")
    value=${1:${#value}}
    described+=("${value#$'\t'}")
    value=${values[${#values[@]} - 1]}
    __xmppkit_quote "${value:${#head}}" "$quote"
    COMPREPLY+=("$REPLY")
}

# __xmppkit_commands offers the programs that begin with $1: no shell runs them. Those with
# a directory are files.
__xmppkit_commands() {
    local name
    [[ $1 != *[![:alnum:]._+-]* ]] || return
    while IFS= read -r name; do
        ! type -P -- "$name" >/dev/null || __xmppkit_offer "$name"
    done < <(compgen -c -- "$1" | sort -u)
}

complete -o default -F _xmppkit xmppkit
