// Partial sums: per output lane a memory in two halves; a word holds two sums of 36 bits (forward: two rows) or one of
// 48 bits. The array adds to one half while the output path reads the other. The accumulators of a large weight
// gradient lie in both halves; they may be begun anew (fresh_i) below the address where the output path reads. Each class of four lanes has
// addresses of its own in weight gradients.
//
// A request in cycle 0 meets its operands in cycle 3; the sum can be read again by a request in cycle 4.
`default_nettype none

module jb_psum #(
  parameter int OutLanes = 16,
  parameter int Depth    = 1024  // words, both halves; a power of two
) (
  input  wire logic                         clk_i,
  input  wire logic                         rst_ni,
  // adding; cycle 0
  input  wire logic                         packed_i,     // two sums per word; stable while requests are under way
  input  wire logic [OutLanes-1:0]          add_i,        // lanes
  input  wire logic                         fresh_i,      // to the initial sums, not to what is stored
  input  wire logic [(OutLanes/4)*$clog2(Depth)-1:0] address_i,  // of each class of four lanes
  // cycle 3
  input  wire logic [37*OutLanes-1:0]       lower_i,      // signed
  input  wire logic [20*OutLanes-1:0]       upper_i,
  input  wire logic [OutLanes-1:0]          carry_i,      // to be added to upper_i
  input  wire logic [48*OutLanes-1:0]       initial_i,    // zero where nothing is to be added
  // reading; data in cycle 3
  input  wire logic [1:0]                   read_half_i,  // halves that the output path reads
  input  wire logic [$clog2(Depth)-1:0]     read_address_i,
  input  wire logic [1:0]                   read_quad_i,  // cycle 3: four lanes
  output      logic [287:0]                 read_data_o
);
  localparam int AddressBits = $clog2(Depth);
  localparam int Word = AddressBits - 1;
  localparam int Classes = OutLanes / 4;

  logic [OutLanes-1:0] add1_q, add2_q, add3_q, add4_q;
  logic [Classes-1:0] upper_half1_q, upper_half2_q, upper_half3_q, upper_half4_q;  // half of the memory
  logic fresh1_q, fresh2_q, fresh3_q;
  logic [Word-1:0] address_q[2*Classes];  // 2 * class + half of the memory
  logic [Word-1:0] back1_q[Classes], back2_q[Classes], back3_q[Classes], back4_q[Classes];
  logic read_half1_q, read_half2_q, read_half3_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      add1_q <= '0;
      add2_q <= '0;
      add3_q <= '0;
      add4_q <= '0;
    end else begin
      add1_q <= add_i;
      add2_q <= add1_q;
      add3_q <= add2_q;
      add4_q <= add3_q;
    end
  end

  always_ff @(posedge clk_i) begin
    fresh1_q      <= fresh_i;
    fresh2_q      <= fresh1_q;
    fresh3_q      <= fresh2_q;
    upper_half2_q <= upper_half1_q;
    upper_half3_q <= upper_half2_q;
    upper_half4_q <= upper_half3_q;
    read_half1_q  <= read_address_i[Word];
    read_half2_q  <= read_half1_q;
    read_half3_q  <= read_half2_q;
    for (int g = 0; g < Classes; g++) begin
      upper_half1_q[g] <= address_i[AddressBits*g+Word];
      back1_q[g] <= address_i[AddressBits*g+:Word];
      back2_q[g] <= back1_q[g];
      back3_q[g] <= back2_q[g];
      back4_q[g] <= back3_q[g];
      for (int h = 0; h < 2; h++) begin
        address_q[2*g+h] <= read_half_i[h] ? read_address_i[Word-1:0] : address_i[AddressBits*g+:Word];
      end
    end
  end

  logic [8*288-1:0] words;  // 4 * half of the memory + quad

  jb_mux8 #(.Width(288)) u_read (.values_i(words), .select_i({read_half3_q, read_quad_i}), .value_o(read_data_o));

  for (genvar lane = 0; lane < OutLanes; lane++) begin : g_lane
    localparam int Class = lane / 4;

    logic [71:0] word0, word1, word;
    logic [47:0] lower_q, old_lower;
    logic [35:0] upper_q, old_upper;
    logic [36:0] upper;
    logic [71:0] result;

    for (genvar h = 0; h < 2; h++) begin : g_half
      logic [71:0] data;

      jb_psum_bank #(
        .Depth(Depth / 2)
      ) u_bank (
        .clk_i,
        .write_i        (add4_q[lane] && upper_half4_q[Class] == 1'(h)),
        .write_address_i(back4_q[Class]),
        .write_data_i   (result),
        .read_address_i (address_q[2*Class+h]),
        .read_data_o    (data)
      );
    end

    assign word0     = g_half[0].data;
    assign word1     = g_half[1].data;
    assign word      = upper_half3_q[Class] ? word1 : word0;
    assign old_lower = (fresh3_q ? '0 : word[47:0]) | initial_i[48*lane+:48];
    assign old_upper = (fresh3_q ? '0 : word[71:36]) | initial_i[48*lane+:36];
    assign upper     = {{16{upper_i[20*lane+19]}}, upper_i[20*lane+:20], 1'b1} + {old_upper, carry_i[lane]};
    assign result    = {upper_q, packed_i ? lower_q[35:0] : 36'd0} | {24'd0, packed_i ? 48'd0 : lower_q};

    for (genvar quad = Class; quad < 4; quad += Classes) begin : g_quad  // fewer lanes: again in the places beyond
      assign words[288*quad+72*(lane%4)+:72]     = word0;
      assign words[288*(4+quad)+72*(lane%4)+:72] = word1;
    end

    always_ff @(posedge clk_i) begin
      lower_q <= {{11{lower_i[37*lane+36]}}, lower_i[37*lane+:37]} + old_lower;
      upper_q <= packed_i ? upper[36:1] : '0;
    end

    logic unused;
    assign unused = upper[0];
  end
endmodule

`default_nettype wire
