// SPDX-License-Identifier: Apache-2.0
// Only there for its precompiled headers, which the tests share.
int main()
{
    return 0;
}
